/* The least that a replay can do: keep the levels and both best prices of one market.
   gcc -O3 -march=native -shared -fPIC; called by drivers/drive_limits.py. Rows are tape rows. */
#include <stdint.h>

typedef struct {
    int64_t ts, recv, qty;
    int32_t ahead, price, market;
    int8_t kind, side;
    int16_t flags;
} row_t;

enum { SNAPSHOT, LEVEL, INCREASE, DECREASE };

/* book: 2 x 101 by cents. best: bid, ask, and a sum of both over all rows, so that none is idle. */
void keep_book(const row_t *rows, int64_t count, int64_t *book, int64_t *best) {
    int64_t bid = 0, ask = 100, sum = 0;
    for (int64_t i = 0; i < count; i++) {
        const row_t *row = rows + i;
        if (row->kind >= LEVEL && row->kind <= DECREASE) {
            int64_t price = row->price / 100;
            int64_t left = book[101 * row->side + price] +=
                row->kind == DECREASE ? -row->qty : row->qty;
            if (row->side == 0) {
                if (left > 0 && price > bid) bid = price;
                while (bid > 0 && book[bid] == 0) bid--;
            } else {
                if (left > 0 && price < ask) ask = price;
                while (ask < 100 && book[101 + ask] == 0) ask++;
            }
        }
        sum += bid + ask;
    }
    best[0] = bid;
    best[1] = ask;
    best[2] = sum;
}
