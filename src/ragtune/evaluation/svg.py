"""Matplotlib figures as inline SVG that takes its colours and its font from the page around it."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that matplotlib draws with; `to_svg` puts the page's CSS variables in their place, so that one picture
# is right in light and in dark. No two may be equal, and none may be a colour that matplotlib uses by itself.
COLOURS = {
    "ink": "#0a0b01",
    "muted": "#0a0b02",
    "grid": "#0a0b03",
    "before": "#0a0b04",
    "after": "#0a0b05",
    "reference": "#0a0b06",
    "reference-2": "#0a0b07",
    "reference-3": "#0a0b08",
    "positive": "#0a0b09",
    "negative": "#0a0b10",
}

# What is taken out of matplotlib's SVG, in this order: it names fonts (as a property up to 3.10 the shorthand), styles
# every element of the page, numbers its groups from one in each figure, and says who made it.
_REWRITES = (
    (r"<metadata>.*?</metadata>", ""),
    (r"<style.*?</style>", ""),
    (r'<g id="[^"]*"', "<g"),
    (r"font-family: [^;\"]*(; )?", ""),
    (r"font: (?:(?:bold|700) ([\d.]+px)) [^;\"]*", r"font-weight: 600; font-size: \1"),
    (r"font: ([\d.]+px) [^;\"]*", r"font-size: \1"),
    (r'\bid="', 'id="NAME-'),
    (r"url\(#", "url(#NAME-"),
    (r'xlink:href="#', 'href="#NAME-'),
)

_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ragtune",
    "text.parse_math": False,
    "font.size": 8.8,
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlesize": 9.2,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.7,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["grid"],
    "ytick.color": COLOURS["grid"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
}


@contextmanager
def drawing() -> Iterator[None]:
    """The settings under which every figure of the report is drawn.

    Matplotlib warns about glyphs that its own font lacks, though the browser will draw them with the reader's
    fonts; only those warnings are silenced, by their text.
    """
    from matplotlib import rc_context

    with warnings.catch_warnings(), rc_context(_RC):
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def new_figure(
    *, height: float, columns: int = 1, rows: int = 1, share_axes: bool = False
) -> tuple[Figure, list[Axes]]:
    """A transparent figure 7.2 inches wide and its axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), layout="constrained")
    figure.patch.set_visible(False)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=share_axes, sharey=share_axes)
    axes = list(grid.flat)
    for each in axes:
        each.patch.set_visible(False)
        each.tick_params(length=0)
    return figure, axes


def to_svg(figure: Figure, *, name: str, title: str, description: str) -> str:
    """The figure as an ``<svg>`` element: titled, described, with ids of its own, free of fixed colours and fonts."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    head, body = re.split(r"(?<=>)", buffer.getvalue()[buffer.getvalue().index("<svg") :], maxsplit=1)
    view_box = re.search(r'viewBox="([^"]+)"', head)
    assert view_box is not None
    for pattern, replacement in _REWRITES:
        body = re.sub(pattern, replacement.replace("NAME", name), body, flags=re.DOTALL)
    for variable, colour in COLOURS.items():
        body = body.replace(colour, f"var(--{variable})")
    return (
        f'<svg viewBox="{view_box.group(1)}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(description)}</desc>'
        f"{body.strip()}"
    )
