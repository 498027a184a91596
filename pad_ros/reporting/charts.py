"""Small charts as SVG text, to be put into a page: curves and histograms.

Hand-made, so that their text stays text (searchable, readable by a screen reader) and a page needs
no script and no further file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTH, HEIGHT = 560, 300  # px; about the size that the page shows
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 42
BLUE, ORANGE, GREY = "#1f5fa8", "#c2570c", "#6b7280"  # told apart by the colour-blind as well
MAX_POINTS = 400  # of a curve; more would not be seen


@dataclass(frozen=True)
class Marker:
    """A vertical line at x with its text."""

    x: float
    text: str


@dataclass(frozen=True)
class _Axes:
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    log_x: bool = False

    def x(self, value: Array | float) -> Array:
        low, high = self._scaled(np.array(self.x_range))
        share = (self._scaled(np.asarray(value, np.float64)) - low) / (high - low)
        return np.asarray(LEFT + share * (WIDTH - LEFT - RIGHT))

    def y(self, value: Array | float) -> Array:
        low, high = self.y_range
        return np.asarray(HEIGHT - BOTTOM - (np.asarray(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM))

    def _scaled(self, value: Array) -> Array:
        return np.log10(value) if self.log_x else value


def curve_chart(
    curves: Sequence[tuple[str, Array, Array]],
    labels: tuple[str, str],
    x_range: tuple[float, float] = (0.0, 1.0),
    diagonal: bool = False,
) -> Markup:
    """Curves (name, x, y with x rising) over the unit interval in y; the first one's area is tinted."""
    axes = _Axes(x_range, (0.0, 1.0))
    body = [_frame(axes, labels, ticks(*x_range), ticks(0, 1))]
    if diagonal:
        (x0, x1), (y0, y1) = axes.x(np.array([0.0, 1.0])), axes.y(np.array([0.0, 1.0]))
        body.append(f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="{GREY}" stroke-dasharray="3 4"/>')
    for i, (name, x, y) in enumerate(curves):
        x, y = _thinned(*_clipped(np.asarray(x), np.asarray(y), x_range[1]))
        colour, points = (BLUE, ORANGE, GREY)[i % 3], _points(axes.x(x), axes.y(y))
        if i == 0:
            floor = axes.y(0.0)
            body.append(
                f'<path d="M{axes.x(x[0]):.1f} {floor:.1f}L{points}L{axes.x(x[-1]):.1f} {floor:.1f}Z" '
                f'fill="{colour}" fill-opacity=".10" stroke="none"/>'
            )
        body.append(f'<path d="M{points}" stroke="{colour}" stroke-width="2"/>')
        if len(curves) > 1:
            body.append(_legend(i, name, colour))
    return _svg(f"{labels[1]} against {labels[0]}", body)


def histogram_chart(
    groups: Sequence[tuple[str, Array]], x_label: str, marker: Marker | None = None, bins: int = 24
) -> Markup:
    """One histogram above the other on a common x axis, logarithmic where the values span much."""
    finite = [np.asarray(values, np.float64)[np.isfinite(values)] for _, values in groups]
    border = marker.x if marker else float("nan")
    everything = np.concatenate([*finite, [border] if np.isfinite(border) else []])
    if len(everything) == 0:
        return Markup("")
    log_x = bool(everything.min() > 0 and everything.max() > 10 * everything.min())
    edges = _edges(everything, border, bins, log_x)
    low, high = float(edges[0]), float(edges[-1])
    counts = [np.histogram(values.clip(low, high), edges)[0] for values in finite]  # clipped: rounding
    top = max(1, max(int(count.max()) for count in counts))
    axes = _Axes((low, high), (0.0, float(len(groups))), log_x)
    x_ticks = log_ticks(low, high) if log_x else ticks(low, high)
    body = [_frame(axes, (x_label, "images"), x_ticks, [])]
    for i, ((name, _), count) in enumerate(zip(groups, counts, strict=True)):
        base, colour = len(groups) - 1 - i, (BLUE, ORANGE, GREY)[i % 3]
        for left, right, number in zip(axes.x(edges[:-1]), axes.x(edges[1:]), count, strict=True):
            if number:
                y0, y1 = axes.y(base + 0.82 * number / top), axes.y(base)
                body.append(
                    f'<rect x="{left + 0.5:.1f}" y="{y0:.1f}" width="{right - left - 1:.1f}" '
                    f'height="{y1 - y0:.1f}" fill="{colour}" stroke="none"><title>{number}</title></rect>'
                )
        line = axes.y(base)
        body.append(f'<path d="M{LEFT} {line:.1f}H{WIDTH - RIGHT}" stroke="#9ca3af"/>')
        body += [
            _text(LEFT - 7, float(axes.y(base + 0.82)) + 4, str(top), "end"),
            _text(LEFT - 7, float(line) - 1, "0", "end"),
        ]
        if len(groups) > 1:
            body.append(_text(WIDTH - RIGHT - 4, float(axes.y(base + 0.97)) + 8, name, "end", colour, bold=True))
    if marker and np.isfinite(border):
        x = float(axes.x(border))
        body.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#111827" stroke-dasharray="5 3"/>')
        body.append(_text(x + (5 if x < WIDTH / 2 else -5), TOP + 11, marker.text, "start" if x < WIDTH / 2 else "end"))
    return _svg(f"histogram of {x_label}", body)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within low..high, some `about` of them."""
    raw = (high - low) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * min((1, 2, 2.5, 5, 10), key=lambda factor: abs(factor * power - raw))
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten within low..high; only the powers where they are many."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    factors = (1, 2, 5) if len(powers) <= 3 else (1,)
    return [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]


def _edges(values: Array, border: float, bins: int, log_x: bool) -> Array:
    """Bin edges around all values; one of them lies at `border`, if finite, so that no bin mixes its two sides."""
    if log_x:
        return np.asarray(10 ** _edges(np.log10(values), float(np.log10(border)), bins, False))
    low, high = float(values.min()), float(values.max())
    step = max((high - low) / bins, 1e-6 * max(abs(low), abs(high), 1.0))
    origin = border if np.isfinite(border) else low
    if 0 <= low < 0.3 * high and not 0 < border < step:  # begin at 0, where that costs little room
        low = origin = 0.0
        step = border / round(border / step) if border > 0 else high / bins
    first, last = np.floor((low - origin) / step + 1e-9), np.floor((high - origin) / step + 1e-9) + 1
    return np.asarray(origin + step * np.arange(first, last + 1))


def _clipped(x: Array, y: Array, limit: float) -> tuple[Array, Array]:
    """The curve up to x = limit, its last segment cut there."""
    inside = int(np.searchsorted(x, limit, "right"))
    if inside == len(x) or inside == 0:
        return x, y
    share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
    end = y[inside - 1] + share * (y[inside] - y[inside - 1])
    return np.append(x[:inside], limit), np.append(y[:inside], end)


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    """At most about MAX_POINTS points, evenly along the drawn length, so that steep parts keep theirs."""
    if len(x) <= MAX_POINTS:
        return x, y
    span = max(float(x[-1] - x[0]), 1e-12)
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) / span + np.abs(np.diff(y)))])
    keep = np.unique(np.searchsorted(along, np.linspace(0, along[-1], MAX_POINTS)).clip(0, len(x) - 1))
    return x[keep], y[keep]


def _points(x: Array, y: Array) -> str:
    return "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def _frame(axes: _Axes, labels: tuple[str, str], x_ticks: list[float], y_ticks: list[float]) -> str:
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    parts = []
    for value in x_ticks:
        x = float(axes.x(value))
        parts += [f'<path d="M{x:.1f} {top}V{bottom}" stroke="#e5e7eb"/>', _text(x, bottom + 16, f"{value:g}")]
    for value in y_ticks:
        y = float(axes.y(value))
        parts += [f'<path d="M{left} {y:.1f}H{right}" stroke="#e5e7eb"/>', _text(left - 7, y + 4, f"{value:g}", "end")]
    parts += [
        f'<path d="M{left} {top}V{bottom}H{right}" stroke="#9ca3af"/>',
        _text((left + right) / 2, HEIGHT - 8, labels[0]),
        f'<g transform="rotate(-90 14 {(top + bottom) / 2})">{_text(14, (top + bottom) / 2 + 2, labels[1])}</g>',
    ]
    return "".join(parts)


def _legend(row: int, name: str, colour: str) -> str:
    y = HEIGHT - BOTTOM - 14 - 17 * row
    return (
        f'<path d="M{WIDTH - RIGHT - 26} {y - 4}h18" stroke="{colour}" stroke-width="3"/>'
        f"{_text(WIDTH - RIGHT - 32, y, name, 'end')}"
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "#374151", bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" stroke="none"{weight}>'
        f"{escape(text)}</text>"
    )


def _svg(title: str, body: Sequence[str]) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" fill="none" '
        f'font-size="12" font-family="system-ui, sans-serif">{"".join(body)}</svg>'
    )
