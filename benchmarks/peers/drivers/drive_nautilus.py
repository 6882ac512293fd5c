"""nautilus_trader 1.x: its low-level engine over data in memory, as its documentation says to run
it fast: logging and the risk engine bypassed, no analysis, data sorted once."""

import gc
from datetime import timedelta
from decimal import Decimal

import driving
import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.config import RiskEngineConfig, StrategyConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import BookOrder, OrderBookDelta, TradeTick
from nautilus_trader.model.enums import (
    AccountType,
    AggressorSide,
    AssetClass,
    BookAction,
    BookType,
    OmsType,
    OrderSide,
    TimeInForce,
)
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, TraderId, Venue
from nautilus_trader.model.instruments import BinaryOption
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("SIM")
MARKET = InstrumentId(Symbol("YES"), VENUE)
SIDES = (OrderSide.BUY, OrderSide.SELL)
TAKERS = (AggressorSide.BUYER, AggressorSide.SELLER)
SNAPSHOT_FLAG, LAST_FLAG = 32, 128


def instrument():
    """Return the market: a binary option on the cent grid."""
    return BinaryOption(
        instrument_id=MARKET, raw_symbol=Symbol("YES"), asset_class=AssetClass.ALTERNATIVE,
        currency=USD, price_precision=2, size_precision=2,
        price_increment=Price.from_str("0.01"), size_increment=Quantity.from_str("0.01"),
        activation_ns=0, expiration_ns=2**62, ts_event=0, ts_init=0,
        maker_fee=Decimal(0), taker_fee=Decimal(0),
    )  # fmt: skip


def data_of(columns):
    """Return the feed as nautilus's objects: a delta with an absolute size, or a trade."""
    prices = [Price(cent / 100, 2) for cent in range(101)]
    there, made = (set(), set()), []
    snapshots = int((columns["kind"] == driving.SNAPSHOT).sum())
    names = ("ts", "recv", "kind", "side", "price", "level")
    rows = zip(*(columns[name].tolist() for name in names), strict=True)
    for i, (ts, recv, kind, side, price, level) in enumerate(rows):
        size = Quantity(level / 100, 2)
        if kind == driving.TRADE:
            made.append(
                TradeTick(MARKET, prices[price], size, TAKERS[side], TradeId(str(i)), ts, recv)
            )
            continue
        action = BookAction.UPDATE if price in there[side] else BookAction.ADD
        there[side].add(price)
        if level == 0:
            action = BookAction.DELETE
            there[side].discard(price)
        flags = LAST_FLAG
        if kind == driving.SNAPSHOT:
            flags = SNAPSHOT_FLAG | (LAST_FLAG if i == snapshots - 1 else 0)
        order = BookOrder(SIDES[side], prices[price], size, price)
        made.append(OrderBookDelta(MARKET, action, order, flags, i, ts, recv))
    return made


class Settings(StrategyConfig, frozen=True):
    """What the strategy is to do."""

    makes: bool = False
    notes: bool = False
    qty: float = driving.QTY


class Quotes(Strategy):
    """Look at each event; as a maker, each step cancel both own orders and quote both bests."""

    def __init__(self, config):
        super().__init__(config)
        self.seen = self.steps = self.submits = self.cancels = self.fills = 0
        self.held = Decimal(0)
        self.own = [None, None]
        self.noted = []

    def on_start(self):
        self.subscribe_order_book_deltas(MARKET, book_type=BookType.L2_MBP)
        self.subscribe_trade_ticks(MARKET)
        self.size = Quantity(self.config.qty, 2)
        self.limit = Decimal(str(self.config.qty)) * 50
        if self.config.makes:
            step = timedelta(microseconds=driving.STEP // 1000)
            self.clock.set_timer("step", step, callback=self.on_step)

    def on_order_book_deltas(self, deltas):
        self.seen += len(deltas.deltas)

    def on_trade_tick(self, tick):
        self.seen += 1

    def on_order_filled(self, event):
        self.fills += 1
        quantity = event.last_qty.as_decimal()
        self.held += quantity if event.order_side == OrderSide.BUY else -quantity
        if self.config.notes:
            side = 0 if event.order_side == OrderSide.BUY else 1
            self.noted.append([event.ts_event, side, round(float(event.last_px) * 100)])

    def on_step(self, event):
        self.steps += 1
        book = self.cache.order_book(MARKET)
        best = (book.best_bid_price(), book.best_ask_price())
        for side in range(2):
            order = self.own[side]
            # One that has not arrived yet is cancelled too: it arrives with the next record only.
            if order is not None and not order.is_closed and not order.is_pending_cancel:
                self.cancel_order(order)
                self.cancels += 1
            room = self.held < self.limit if side == 0 else self.held > -self.limit
            self.own[side] = None
            if best[side] is None or not room:
                continue
            order = self.order_factory.limit(
                MARKET, SIDES[side], self.size, best[side], TimeInForce.GTC, post_only=True
            )
            self.submit_order(order)
            self.own[side] = order
            self.submits += 1


def engine_with(data, settings, queues):
    """Return an engine ready to run, and its strategy."""
    engine = BacktestEngine(
        BacktestEngineConfig(
            trader_id=TraderId("PEER-001"),
            logging=LoggingConfig(bypass_logging=True),
            run_analysis=False,
            risk_engine=RiskEngineConfig(bypass=True),
        )
    )
    more = {"queue_position": True} if queues else {}
    engine.add_venue(
        VENUE, OmsType.NETTING, AccountType.MARGIN, [Money(1_000_000, USD)], base_currency=USD,
        default_leverage=Decimal(1), book_type=BookType.L2_MBP,
        latency_model=LatencyModel(base_latency_nanos=driving.ORDER_DELAY), **more,
    )  # fmt: skip
    engine.add_instrument(instrument())
    strategy = Quotes(settings)
    engine.add_strategy(strategy)
    engine.add_data(data)
    return engine, strategy


def final_book(engine):
    """Return the cached book, 0.01 contract by cents."""
    book = np.zeros((2, 101), np.int64)
    cached = engine.cache.order_book(MARKET)
    for side, levels in enumerate((cached.bids(), cached.asks())):
        for level in levels:
            book[side, round(float(level.price) * 100)] = round(float(level.size()) * 100)
    return book


def main():
    given = driving.arguments(("--queues", 0), ("--qty", driving.QTY), ("--noted", 0))
    columns = driving.load(given.feed, given.limit)
    if given.noted:
        # Fills are compared without any delay of the feed: nautilus keeps one clock, that of recv.
        columns["recv"] = columns["ts"]
    settings = Settings(given.mode == "maker", bool(given.noted), given.qty)
    gc.disable()
    data = data_of(columns)
    gc.enable()
    gc.freeze()

    def run():
        engine, strategy = engine_with(data, settings, given.queues)
        _, wall, cpu = driving.timed(engine.run)
        book = final_book(engine)
        assert engine.iteration == len(data), "not every event was processed"
        assert strategy.seen == len(data), "not every event came to the strategy"
        answer = {
            "work": len(data), "wall": wall, "cpu": cpu, "steps": strategy.steps,
            "submits": strategy.submits, "cancels": strategy.cancels, "fills": strategy.fills,
            "position": float(strategy.held), "noted": strategy.noted,
            "book": driving.same_book(columns, book[0], book[1]),
        }  # fmt: skip
        engine.dispose()
        gc.collect()
        return answer

    _, first, _ = driving.timed(run)
    driving.serve(
        run, first_call_seconds=first, events=len(data),
        versions=driving.versions("nautilus_trader", "numpy"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
