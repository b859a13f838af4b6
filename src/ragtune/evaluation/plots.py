"""The report's pictures: metric bars, score distributions, size against quality, training curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from ragtune.evaluation.results import Evaluation, Row, ScoreDistribution, ScoreInterval
from ragtune.evaluation.svg import COLOURS, drawing, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STORAGE_MARKERS = {"fp32": "o", "fp16": "s", "int8": "^", "binary": "D"}
REFERENCE_COLOURS = ("reference", "reference-2", "reference-3")

FROM_ZERO = ("training loss", "tokens per second", "learning rate")
"""Training curves whose axis starts at 0, so that noise looks as small as it is."""

LogRecord = Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Plot:
    """A picture ready for the page: its caption's title, the SVG and the legend's (CSS colour variable, text) rows."""

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


def contender_colours(evaluation: Evaluation) -> dict[str, str]:
    """Contender -> the CSS variable of its colour: before and after have their own, references share three."""
    colours, references = {}, iter(REFERENCE_COLOURS * len(evaluation.contenders))
    for contender in evaluation.contenders:
        colours[contender.name] = next(references) if contender.role == "reference" else contender.role
    return colours


def metric_bars(evaluation: Evaluation) -> Plot:
    """One bar a contender for every measure, with its bootstrap interval."""
    colours = contender_colours(evaluation)
    measures, names = list(evaluation.plan.measures), list(colours)
    intervals = {(score.measure, score.contender): score for score in evaluation.intervals}
    thickness = 0.8 / len(names)
    with drawing():
        figure, (axes,) = new_figure(height=0.5 + len(measures) * (0.18 + 0.2 * len(names)))
        for row, measure in enumerate(measures):
            for place, name in enumerate(names):
                score, y = intervals[measure, name], row - 0.4 + (place + 0.5) * thickness
                axes.barh(y, score.mean, height=thickness * 0.84, color=COLOURS[colours[name]])
                low, high = _ends(score)
                axes.plot([low, high], [y, y], color=COLOURS["ink"], linewidth=1.1, solid_capstyle="butt")
                axes.text(high + 0.008, y, f"{score.mean:.3f}", va="center", fontsize=7.8, color=COLOURS["ink"])
        axes.set_yticks(range(len(measures)), measures)
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        axes.invert_yaxis()
        axes.set_xlim(0, min(1.09, max(_ends(score)[1] for score in evaluation.intervals) + 0.09))
        axes.grid(axis="x")
        axes.spines["bottom"].set_visible(False)
        described = "; ".join(f"{m} " + ", ".join(f"{n} {intervals[m, n].mean:.3f}" for n in names) for m in measures)
        svg = to_svg(figure, name="metrics", title="Measures of every contender", description=described)
    note = f"The thin line is the {evaluation.confidence * 100:.4g} % bootstrap interval of the mean."
    return Plot("Means and intervals", svg, tuple((colour, name) for name, colour in colours.items()), note)


def _ends(score: ScoreInterval) -> tuple[float, float]:
    return (score.low if score.low is not None else score.mean, score.high if score.high is not None else score.mean)


def score_histograms(evaluation: Evaluation) -> Plot | None:
    """Scores of relevant passages against the best of the others, one panel a contender."""
    shown = [d for d in evaluation.distributions if sum(d.positives) and sum(d.negatives)]
    if not shown:
        return None
    with drawing():
        figure, panels = new_figure(height=1.7 * len(shown) + 0.3, rows=len(shown), share_axes=True)
        for axes, distribution in zip(panels, shown, strict=True):
            _histogram(axes, distribution)
        tallest = max(max(_shares(counts)) for d in shown for counts in (d.positives, d.negatives))
        panels[0].set_ylim(0, 1.05 * tallest)  # the axes are shared
        panels[-1].set_xlabel("score")
        described = "; ".join(
            f"{d.contender}: relevant passages on average {d.positive_mean:.3f}, "
            f"best other passage {d.negative_mean:.3f}"
            for d in shown
        )
        svg = to_svg(figure, name="scores", title="Score distributions", description=described)
    legend = (("positive", "relevant passages"), ("negative", "each question's best passage not known to be relevant"))
    return Plot("Scores of relevant and other passages", svg, legend, "The further apart, the better.")


def _histogram(axes: Axes, distribution: ScoreDistribution) -> None:
    axes.set_title(f"{distribution.contender}: {distribution.separated:.0%} of questions separated", loc="left")
    for kind, counts in (("positive", distribution.positives), ("negative", distribution.negatives)):
        share = _shares(counts)
        axes.stairs(share, distribution.edges, fill=True, color=COLOURS[kind], alpha=0.35)
        axes.stairs(share, distribution.edges, color=COLOURS[kind], linewidth=1.3)
    for kind, mean in (("positive", distribution.positive_mean), ("negative", distribution.negative_mean)):
        axes.axvline(mean, color=COLOURS[kind], linewidth=1.1, linestyle=(0, (4, 3)))
    axes.set_xlim(distribution.edges[0], distribution.edges[-1])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.locator_params(axis="y", nbins=4)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / sum(counts) for count in counts]


def size_curves(evaluation: Evaluation) -> Plot | None:
    """The primary measure by dimensions and storage; None when only one setting was measured."""
    measure, colours = evaluation.plan.measures[0], contender_colours(evaluation)
    rows = [row for row in evaluation.rows if row.dims is not None and row.storage is not None]
    sizes = sorted({row.dims for row in rows if row.dims is not None})
    storages = [kind for kind in STORAGE_MARKERS if any(row.storage == kind for row in rows)]
    if len(sizes) * len(storages) < 2:
        return None
    with drawing():
        figure, (axes,) = new_figure(height=2.9)
        for name in dict.fromkeys(row.contender for row in rows):
            for place, storage in enumerate(storages):
                curve = sorted(
                    (sizes.index(row.dims), row.scores[measure]) for row in _setting(rows, name, storage) if row.dims
                )
                aside = (place - (len(storages) - 1) / 2) * 0.09
                axes.plot(
                    [x + aside for x, _ in curve],
                    [y for _, y in curve],
                    color=COLOURS[colours[name]],
                    marker=STORAGE_MARKERS[storage],
                    markersize=5,
                    linewidth=1.3,
                    alpha=0.9,
                )
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.set_xlim(-0.5, len(sizes) - 0.5)
        axes.set_xlabel("dimensions")
        axes.set_ylabel(measure)
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        described = "; ".join(f"{r.contender} {r.dims} {r.storage}: {r.scores[measure]:.3f}" for r in rows)
        svg = to_svg(figure, name="sizes", title=f"{measure} by dimensions and storage", description=described)
    shapes = {"fp32": "●", "fp16": "■", "int8": "▲", "binary": "◆"}
    legend = tuple((colours[name], name) for name in dict.fromkeys(row.contender for row in rows))
    note = "Storage: " + "   ".join(f"{shapes[storage]} {storage}" for storage in storages)
    return Plot(f"{measure} by dimensions and storage", svg, legend, note)


def _setting(rows: Iterable[Row], contender: str, storage: str) -> list[Row]:
    return [row for row in rows if row.contender == contender and row.storage == storage]


def training_curves(log: Sequence[LogRecord], *, measure: str) -> Plot | None:
    """Loss, dev score, learning rate and speed by step, whichever the log holds; None for an empty log.

    A record of the log has ``step`` and any of ``loss``, ``learning_rate``, ``tokens_per_second`` and
    ``dev_<measure>``.
    """
    panels = [(title, points) for title, read in _panels(measure) if len(points := list(_series(log, read))) > 1]
    if not panels:
        return None
    with drawing():
        rows = (len(panels) + 1) // 2
        figure, axes_of = new_figure(height=2.0 * rows + 0.2, rows=rows, columns=min(2, len(panels)))
        for axes, (title, points) in zip(axes_of, panels, strict=False):
            steps, values = zip(*points, strict=True)
            few = len(points) < 40
            axes.plot(steps, values, color=COLOURS["after"], linewidth=1.5, marker="o" if few else "", markersize=3)
            axes.set_title(title, loc="left")
            axes.grid(axis="y")
            axes.spines["left"].set_visible(False)
            axes.locator_params(nbins=5)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.margins(y=0.12)
            if title in FROM_ZERO:
                axes.set_ylim(0, 1.12 * max(values))
        for axes in axes_of[len(panels) :]:
            axes.set_visible(False)
        described = "; ".join(f"{title}: {points[0][1]:.4g} to {points[-1][1]:.4g}" for title, points in panels)
        svg = to_svg(figure, name="training", title="Training by step", description=described)
    return Plot("By optimizer step", svg)


def _panels(measure: str) -> tuple[tuple[str, Callable[[LogRecord], Any]], ...]:
    return (
        ("training loss", lambda record: record.get("loss")),
        (f"dev {measure}", lambda record: record.get(f"dev_{measure}")),
        ("learning rate", lambda record: record.get("learning_rate")),
        ("tokens per second", lambda record: record.get("tokens_per_second")),
    )


def _series(log: Sequence[LogRecord], read: Callable[[LogRecord], Any]) -> Iterable[tuple[int, float]]:
    for record in log:
        if "step" in record and (value := read(record)) is not None:
            yield int(record["step"]), float(value)
