"""Lines of one shape into messages: the compiled pass of `alike`, a byte at a time.

Each reader takes a place in the text and returns the place after what it has read, or NONE if that
is not there in its plainest form. The text ends with the end of a line, which is part of no value,
so that no reader runs past it.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from foldbook.engine.compiled import entry, inner, small
from foldbook.engine.schema import Side
from foldbook.engine.units import MICROSECOND, MILLISECOND, QTY_ONE

from .frames import Kind
from .messages import NO_RECV


class Role(IntEnum):
    """What a value of a line is: a whole number up to NUMBER, and a text beyond."""

    RECV = 0
    SID = 1
    SEQ = 2
    MILLIS = 3
    NUMBER = 4
    """One that is of no use here."""
    PRICE = 5
    QTY = 6
    SIDE = 7
    TIME = 8
    TICKER = 9
    TEXT = 10
    """One that is of no use here."""


NONE = -1
_RECV, _SID, _SEQ, _MILLIS, _NUMBER = 0, 1, 2, 3, 4
_PRICE, _QTY, _SIDE, _TIME, _TICKER, _TEXT = 5, 6, 7, 8, 9, 10
_TICKER_END = 11
"""Where the values of a line have the end of its ticker."""
VALUES = 12
assert (_RECV, _SID, _SEQ, _MILLIS, _NUMBER) == (
    Role.RECV, Role.SID, Role.SEQ, Role.MILLIS, Role.NUMBER
) and (_PRICE, _QTY, _SIDE, _TIME, _TICKER) == (
    Role.PRICE, Role.QTY, Role.SIDE, Role.TIME, Role.TICKER
) and max(Role) == _TEXT and NO_RECV == NONE  # fmt: skip
_DELTA, _BUY, _SELL = int(Kind.DELTA), int(Side.BUY), int(Side.SELL)
_MS_MAX, _WIDE_MAX = 9 * 10**12, 2**53
"""What the decoder takes of a time in ms, and of other numbers."""
_DIGITS = 18
"""Of a number at most: it fits int64."""
_CONTRACT_DIGITS = 12
"""Of a quantity's contracts: fewer than the most that is allowed."""
_ZERO, _NINE, _DOT, _MINUS, _QUOTE = ord("0"), ord("9"), ord("."), ord("-"), ord('"')
_COLON, _T, _Z = ord(":"), ord("T"), ord("Z")
_SPACE, _BACKSLASH, _TILDE, _NEWLINE = ord(" "), ord("\\"), ord("~"), ord("\n")
_Y, _E, _S, _N, _O = (ord(letter) for letter in "yesno")
_TIME_BYTES = 20
"""Of a time at least: YYYY-MM-DDTHH:MM:SSZ."""


@entry
def read_lines(  # type: ignore[no-untyped-def]
    text, literals, ends, roles, values, messages, sids, others, tickers
):
    """Read every line of a shape; return how many lines were not of it, and tickers there are.

    text: uint8, ends with a line. literals, ends, roles: the `Shape`. values: int64 [VALUES], NONE.
    messages: MESSAGE_DTYPE and sids: int64, one per line, zero; filled. others: int64 [line,
    (number, begin, end)] and tickers: int64 [change, (begin, end)], with room for every line.
    """
    at, line, left, changes = 0, 0, 0, 0
    while at < len(text):
        after = read_line(text, at, literals, ends, roles, values)
        if after == NONE:
            begin = at
            while text[at] != _NEWLINE:
                at += 1
            at += 1
            others[left, 0] = line
            others[left, 1] = begin
            others[left, 2] = at
            left += 1
        else:
            at = after
            begin, end = values[_TICKER], values[_TICKER_END]
            before = tickers[max(changes - 1, 0)]
            if (
                changes == 0 or end - begin != before[1] - before[0]
                or not is_same(text, begin, end, text, before[0])
            ):
                tickers[changes, 0] = begin
                tickers[changes, 1] = end
                changes += 1
            messages["recv"][line] = values[_RECV] * (MILLISECOND if values[_RECV] != NONE else 1)
            messages["ts"][line] = values[_TIME] * MICROSECOND
            messages["qty"][line] = values[_QTY]
            messages["seq"][line] = values[_SEQ]
            messages["price"][line] = values[_PRICE]
            messages["market"][line] = changes - 1
            messages["kind"][line] = _DELTA
            messages["side"][line] = values[_SIDE]
            sids[line] = values[_SID]
        line += 1
    return left, changes


@inner
def read_line(text, at, literals, ends, roles, values):  # type: ignore[no-untyped-def]
    """Read the values of one line; return where the next begins."""
    begin = 0
    for piece in range(len(ends)):
        count = ends[piece] - begin
        if at + count > len(text) or not is_same(literals, begin, ends[piece], text, at):
            return NONE
        at += count
        begin = ends[piece]
        if piece < len(roles):
            at = read_value(text, at, roles[piece], values)
            if at == NONE:
                return NONE
    # The times are one if they are the same to the millisecond.
    return at if values[_TIME] // 1000 == values[_MILLIS] else NONE


@inner
def is_same(left, begin, end, right, at):  # type: ignore[no-untyped-def]
    """Whether `left` from `begin` to `end` stands in `right` at `at`, too."""
    one, other = left[begin:end], right[at : at + end - begin]
    difference = 0
    for i in range(len(one)):
        difference |= one[i] ^ other[i]
    return difference == 0


@inner
def read_value(text, at, role, values):  # type: ignore[no-untyped-def]
    """Read one value by its role."""
    if role <= _NUMBER:
        return read_number(text, at, role, values)
    if role == _PRICE:
        return read_price(text, at, values)
    if role == _QTY:
        return read_qty(text, at, values)
    if role == _SIDE:
        return read_side(text, at, values)
    if role == _TIME:
        return read_time(text, at, values)
    end = read_text(text, at)
    if role == _TICKER:
        values[_TICKER] = at
        values[_TICKER_END] = end
    return end


@small
def is_digit(byte):  # type: ignore[no-untyped-def]
    """Whether a byte is a decimal digit."""
    return _ZERO <= byte <= _NINE


@small
def read_digits(text, at, most, values, word):  # type: ignore[no-untyped-def]
    """Read one digit or more into a word of the values; what follows the last is not looked at."""
    begin = at
    number = np.int64(0)
    while at - begin < most and is_digit(text[at]):
        number = 10 * number + np.int64(text[at]) - _ZERO
        at += 1
    values[word] = number
    return at if at > begin else NONE


@inner
def read_number(text, at, role, values):  # type: ignore[no-untyped-def]
    """Read a whole number within the bounds of its role."""
    end = read_digits(text, at, _DIGITS, values, role)
    if end == NONE or (text[at] == _ZERO and end > at + 1):
        return NONE
    if role == _RECV or role == _MILLIS:
        return end if 0 < values[role] <= _MS_MAX else NONE
    return end if role == _NUMBER or values[role] <= _WIDE_MAX else NONE


@inner
def read_price(text, at, values):  # type: ignore[no-untyped-def]
    """Read dollars, more than 0 and less than 1, with up to four decimals, as $0.0001."""
    if text[at] != _ZERO or text[at + 1] != _DOT:
        return NONE
    end = read_digits(text, at + 2, 4, values, _PRICE)
    if end == NONE:
        return NONE
    for _ in range(end, at + 6):
        values[_PRICE] *= 10
    return end if values[_PRICE] > 0 else NONE


@inner
def read_qty(text, at, values):  # type: ignore[no-untyped-def]
    """Read contracts of either sign with up to two decimals, as 0.01 contract."""
    is_negative = text[at] == _MINUS
    at = read_digits(text, at + is_negative, _CONTRACT_DIGITS, values, _QTY)
    if at == NONE:
        return NONE
    qty = values[_QTY] * QTY_ONE
    if text[at] == _DOT:
        end = read_digits(text, at + 1, 2, values, _QTY)
        if end == NONE:
            return NONE
        qty += values[_QTY] * (10 if end == at + 2 else 1)
        at = end
    values[_QTY] = -qty if is_negative else qty
    return at


@inner
def read_side(text, at, values):  # type: ignore[no-untyped-def]
    """Read yes or no."""
    if text[at] == _Y and text[at + 1] == _E and text[at + 2] == _S:
        values[_SIDE] = _BUY
        return at + 3
    if text[at] == _N and text[at + 1] == _O:
        values[_SIDE] = _SELL
        return at + 2
    return NONE


@inner
def read_text(text, at):  # type: ignore[no-untyped-def]
    """Pass over printable text up to the next quote, without escapes."""
    while text[at] != _QUOTE:
        if not _SPACE <= text[at] <= _TILDE or text[at] == _BACKSLASH:
            return NONE
        at += 1
    return at


@inner
def read_pair(text, at):  # type: ignore[no-untyped-def]
    """Return the number that two digits are, or NONE."""
    if not is_digit(text[at]) or not is_digit(text[at + 1]):
        return NONE
    return 10 * (np.int64(text[at]) - _ZERO) + np.int64(text[at + 1]) - _ZERO


@inner
def read_time(text, at, values):  # type: ignore[no-untyped-def]
    """Read YYYY-MM-DDTHH:MM:SSZ, with up to six digits of a fraction, as µs since 1970."""
    if at + _TIME_BYTES > len(text):
        return NONE
    marks = (
        text[at + 4] == _MINUS and text[at + 7] == _MINUS and text[at + 10] == _T
        and text[at + 13] == _COLON and text[at + 16] == _COLON
    )
    century, year = read_pair(text, at), read_pair(text, at + 2)
    month, day = read_pair(text, at + 5), read_pair(text, at + 8)
    hour, minute = read_pair(text, at + 11), read_pair(text, at + 14)
    second = read_pair(text, at + 17)
    if not marks or min(century, year, month, day, hour, minute, second) == NONE:
        return NONE
    days = days_to(100 * century + year, month, day)
    if days == NONE or hour > 23 or minute > 59 or second > 59:
        return NONE
    micros, end = np.int64(0), at + 19
    if text[end] == _DOT:
        begin = end + 1
        end = read_digits(text, begin, 6, values, _TIME)
        if end == NONE:
            return NONE
        micros = values[_TIME]
        for _ in range(end, begin + 6):
            micros *= 10
    values[_TIME] = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros
    return end + 1 if text[end] == _Z else NONE


@inner
def days_to(year, month, day):  # type: ignore[no-untyped-def]
    """Return the days from 1970 to a date of 1970 or later, NONE if there is no such day."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year < 1970 or not 1 <= month <= 12 or day < 1:
        return NONE
    days = 365 * (year - 1970) + (year - 1969) // 4 - (year - 1901) // 100 + (year - 1601) // 400
    for before in range(1, month + 1):
        long = 31 - (before == 4 or before == 6 or before == 9 or before == 11)
        if before == 2:
            long = 28 + leap
        if before == month:
            return days + day - 1 if day <= long else NONE
        days += long
    return NONE
