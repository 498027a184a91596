"""Small charts as SVG, to be put into a page: curves and histograms.

Their text stays text (searchable, readable by a screen reader); they need no script and no further file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

Array = NDArray[np.float64]

COLOURS = ("#1f5fa8", "#c2570c", "#6b7280")  # blue, orange, grey: the colour-blind can separate them
MAX_POINTS = 200  # of a curve; more could not be seen
BINS = 24
SIZE = (5.6, 3.0)  # inches
STYLE: Any = {
    "svg.fonttype": "none", "font.size": 9, "axes.edgecolor": "#9ca3af", "axes.spines.top": False,
    "axes.spines.right": False, "axes.labelcolor": "#374151", "xtick.color": "#374151", "ytick.color": "#374151",
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "grid.color": "#e5e7eb",
    "axes.axisbelow": True, "legend.frameon": False, "figure.subplot.left": 0.1, "figure.subplot.right": 0.96,
    "figure.subplot.bottom": 0.16, "figure.subplot.top": 0.92, "figure.subplot.hspace": 0.35,
}  # fmt: skip


@dataclass(frozen=True)
class Marker:
    """A vertical line at x with its text."""

    x: float
    text: str


@rc_context(STYLE)
def curve_chart(
    curves: Sequence[tuple[str, Array, Array]],
    labels: tuple[str, str],
    x_range: tuple[float, float] = (0.0, 1.0),
    diagonal: bool = False,
) -> Markup:
    """Curves (name, x, y with x rising) over the unit interval in y; the first one's area is tinted."""
    figure = Figure(SIZE)
    axes = figure.subplots()
    axes.grid(clip_on=False)
    for (name, x, y), colour in zip(curves, COLOURS):
        x, y = _thinned(*_clipped(x, y, x_range[1]))
        axes.plot(x, y, color=colour, label=name, clip_on=False)
        if name == curves[0][0]:
            area = [x[0], *x, x[-1]], [0, *y, 0]
            axes.fill(*area, color=colour, alpha=0.1, linewidth=0, clip_on=False)
    if diagonal:
        axes.plot(x_range, x_range, color=COLOURS[2], linestyle=":", clip_on=False)
    if len(curves) > 1:
        axes.legend(loc="lower right")
    axes.set(xlim=x_range, ylim=(0, 1), xlabel=labels[0], ylabel=labels[1])
    return _svg(figure, f"{labels[1]} against {labels[0]}")


@rc_context(STYLE)
def histogram_chart(groups: Sequence[tuple[str, Array]], x_label: str, marker: Marker | None = None) -> Markup:
    """One histogram above the other on a common x axis, logarithmic where the values span much; counts on the bars."""
    finite = [np.asarray(values, np.float64)[np.isfinite(values)] for _, values in groups]
    border = marker.x if marker else float("nan")
    everything = np.concatenate([*finite, [border] if np.isfinite(border) else []])
    if len(everything) == 0:
        return Markup("")
    log_x = bool(everything.min() > 0 and everything.max() > 10 * everything.min())
    edges = bin_edges(everything, border, log_x)
    figure = Figure(SIZE)
    rows = figure.subplots(len(groups), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (name, _), values, colour in zip(rows, groups, finite, COLOURS):
        counts = np.histogram(values.clip(edges[0], edges[-1]), edges)[0]  # clipped: rounding
        bars = axes.bar(
            edges[:-1], counts, np.diff(edges), align="edge", color=colour, edgecolor="white", clip_on=False
        )
        axes.bar_label(bars, [str(count) if count else "" for count in counts], fontsize=7)
        axes.set_title(name, loc="right", color=colour, fontsize=9, fontweight="bold")
        axes.set_yticks([])
        axes.spines.left.set_visible(False)
        if np.isfinite(border):
            axes.axvline(border, color="#111827", linestyle="--", linewidth=1, clip_on=False)
    if log_x:
        rows[-1].set_xscale("log")
        rows[-1].xaxis.set(
            major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_locator=NullLocator()
        )
    if marker and np.isfinite(border):
        rows[0].annotate(marker.text, (border, 1), (4, -2), xycoords=("data", "axes fraction"),
                         textcoords="offset points", va="bottom", annotation_clip=False)  # fmt: skip
    rows[-1].set_xlabel(x_label)
    return _svg(figure, f"histogram of {x_label}")


def bin_edges(values: Array, border: float, log_x: bool) -> Array:
    """Bin edges around all values; one of them lies at `border`, if finite, so that no bin mixes its two sides."""
    if log_x:
        return np.asarray(10 ** bin_edges(np.log10(values), float(np.log10(border)), False))
    low, high = float(values.min()), float(values.max())
    step = max((high - low) / BINS, 1e-6 * max(abs(low), abs(high), 1.0))
    origin = border if np.isfinite(border) else low
    first, last = np.floor((low - origin) / step + 1e-9), np.floor((high - origin) / step + 1e-9) + 1
    return np.asarray(origin + step * np.arange(first, last + 1))


def _clipped(x: Array, y: Array, limit: float) -> tuple[Array, Array]:
    """The curve up to x = limit, its last segment cut there."""
    inside = x <= limit
    return np.append(x[inside], limit), np.append(y[inside], np.interp(limit, x, y))


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    """At most about MAX_POINTS points, evenly along the drawn length, so that steep parts keep theirs."""
    along = np.append(0.0, np.cumsum(np.abs(np.diff(x)) / max(float(np.ptp(x)), 1e-12) + np.abs(np.diff(y))))
    keep = np.unique(np.searchsorted(along, np.linspace(0, along[-1], MAX_POINTS)).clip(0, len(x) - 1))
    return x[keep], y[keep]


def _svg(figure: Figure, title: str) -> Markup:
    """The figure as an element of an HTML page: names and addresses that only a file of its own needs are left out."""
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True)
    body = text.getvalue()[text.getvalue().index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' (xmlns(:xlink)?|id|width|height|version)="[^"]*"', "", body)
    body = re.sub(r"(\.\d\d)\d+", r"\1", body)
    body = body.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    return Markup(body)  # nosec B704  # matplotlib escapes what it writes
