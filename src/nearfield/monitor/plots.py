"""A picture of what recall costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nearfield.extras import load_extra

if TYPE_CHECKING:
    from nearfield.monitor.recall import Tuned

_CURVE, _TARGET, _CHOSEN = "#1f77b4", "#888888", "#d62728"

_TICKS = (1, 1.5, 2, 3, 5, 7)
"""Digits that the logarithmic axis of time shows: a curve may span less than a power of ten."""


def draw_curve(tuned: Tuned) -> Any:
    """Return a Figure of recall against milliseconds, with the target and the chosen effort."""
    figures = load_extra("matplotlib.figure", "plot", "a picture")
    from matplotlib.ticker import LogLocator, NullLocator

    figure = figures.Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    curve = tuned.curve
    # Rounding may leave the end of an interval beside the mean.
    below = [max(0.0, point.recall - point.low) for point in curve]
    above = [max(0.0, point.high - point.recall) for point in curve]
    times, recalls = [point.milliseconds for point in curve], [point.recall for point in curve]
    axes.errorbar(times, recalls, yerr=(below, above), marker="o", markersize=4, capsize=2, color=_CURVE)
    axes.axhline(tuned.recall_target, linestyle="--", color=_TARGET, label=f"target {tuned.recall_target:g}")
    if tuned.chosen is not None:
        point = tuned.chosen
        name = f"chosen: {point.recall:.3f} in {point.milliseconds:.3g} ms"
        axes.plot([point.milliseconds], [point.recall], "*", markersize=14, zorder=3, color=_CHOSEN, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=_TICKS))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("milliseconds a query, in one thread")
    axes.set_ylabel("share of the true 10 nearest that is found")
    axes.set_title(tuned.kind, parse_math=False)
    axes.grid(alpha=0.3)
    axes.spines[["right", "top"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    return figure
