"""Log-log plots as SVG, written here because they are all the drawing that the page needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 480, 320, 56
Points = Sequence[tuple[float, float]]


def log_log(title: str, points: Points, x_name: str, y_name: str) -> str:
    """Return an SVG of points (x, y), all above zero, beside a dashed line of slope 1.

    Both axes are logarithmic, with a mark at each power of ten. Raises ValueError for a point that
    has no logarithm, and for fewer than two.
    """
    if len(points) < 2 or any(x <= 0 or y <= 0 for x, y in points):
        raise ValueError(f"plot {title!r}: expected two points or more, all above zero")
    xs, ys = _decades([x for x, _ in points]), _decades([y for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        right = (math.log10(x) - xs[0]) / (xs[1] - xs[0]) * (WIDTH - 2 * MARGIN)
        up = (math.log10(y) - ys[0]) / (ys[1] - ys[0]) * (HEIGHT - 2 * MARGIN)
        return MARGIN + right, HEIGHT - MARGIN - up

    (x0, y0), last = points[0], points[-1][0]
    top = min(last, x0 * 10 ** ys[1] / y0)
    linear = [place(x0, y0), place(top, y0 * top / x0)]
    lines = [_path(linear, 'stroke="#999" stroke-dasharray="4"')]
    lines.append(_path([place(x, y) for x, y in points], 'stroke="#06c" stroke-width="2"'))
    lines += [_dot(*place(x, y)) for x, y in points]
    for power in range(xs[0], xs[1] + 1):
        lines.append(_text(place(10**power, 10 ** ys[0])[0], HEIGHT - MARGIN + 16, _ten(power)))
    for power in range(ys[0], ys[1] + 1):
        lines.append(_text(MARGIN - 22, place(10 ** xs[0], 10**power)[1] + 4, _ten(power)))
    lines.append(_text(WIDTH / 2, 20, title))
    lines.append(_text(WIDTH / 2, HEIGHT - 12, x_name))
    lines.append(_text(MARGIN, MARGIN - 12, y_name))
    frame = (
        f'<rect x="{MARGIN}" y="{MARGIN}" width="{WIDTH - 2 * MARGIN}" '
        f'height="{HEIGHT - 2 * MARGIN}" fill="none" stroke="#ccc"/>'
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" text-anchor="middle">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', frame, *lines,
                      "</svg>"]) + "\n"  # fmt: skip


def slope(points: Points) -> float:
    """Return the power with which y grows with x: the slope of the best line in logarithms.

    >>> round(slope([(1, 3), (10, 30), (100, 300)]), 6)
    1.0
    >>> round(slope([(1, 1), (10, 100)]), 6)
    2.0
    """
    logs = [(math.log(x), math.log(y)) for x, y in points]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    above = sum((x - mean_x) * (y - mean_y) for x, y in logs)
    return above / sum((x - mean_x) ** 2 for x, _ in logs)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _ten(power: int) -> str:
    return f"10{'⁻' if power < 0 else ''}{''.join('⁰¹²³⁴⁵⁶⁷⁸⁹'[int(d)] for d in str(abs(power)))}"


def _path(points: Points, style: str) -> str:
    listed = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{listed}" fill="none" {style}/>'


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#06c"/>'


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
