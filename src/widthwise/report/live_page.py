"""The page of a study that runs: what has come so far, in one file that fetches nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
from markupsafe import Markup

from widthwise.analysis import Optimum
from widthwise.report import captions
from widthwise.report.accuracy_figure import accuracy_figure
from widthwise.report.page import drawn, template
from widthwise.runs.tables import OptimumRow, SelectedOn, optimum_rows, selected_on, setting_rows

FIGURE = "accuracy-vs-noise-scale"


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Runs of one width, or of all: landed, in flight, failed and waiting are all there are.

    Attributes:
        landed: diverged ones included.
        failed: tried and given up; the next `widthwise run` tries them again.
    """

    landed: int = 0
    diverged: int = 0
    in_flight: int = 0
    failed: int = 0
    waiting: int = 0

    @property
    def asked(self) -> int:
        return self.landed + self.in_flight + self.failed + self.waiting

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(**{name: getattr(other, name) + value for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """A run that landed lately.

    Attributes:
        ago: how long ago, in words.
        accuracy: late-time test accuracy, a fraction; None if it diverged.
    """

    ago: str
    widening_factor: float
    learning_rate: float
    batch_size: int
    momentum: float
    normalized_noise_scale: float
    seed: int
    accuracy: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What the runs that have landed say so far, drawn.

    Attributes:
        num_runs: that it rests on.
        sentence: the law so far, or why there is none.
        problems: widening factor → why it has no optimum yet.
        image: the figure as a part of the page.
        caption: of the figure.
    """

    num_runs: int
    sentence: str
    optima: Sequence[OptimumRow]
    problems: Mapping[float, str]
    chosen_on: SelectedOn
    image: Markup
    caption: str


@dataclass(frozen=True, kw_only=True, eq=False)
class LiveContent:
    """All that the page says.

    Attributes:
        title: of the study.
        place: its folder.
        now: the time of day.
        refresh: seconds until a browser asks again; None if it does not.
        tallies: widening factor → its runs.
        state: what goes on, in a sentence.
        command: that goes on from there, if there is one.
        time_left: in a sentence; None if all has landed.
        findings: None before the first run has landed.
        last: runs that landed, the last first.
        cautions: what to know besides.
        failures: why runs were given up → which, in words.
    """

    title: str
    place: str
    now: str
    refresh: float | None
    tallies: Mapping[float, Tally]
    state: str
    command: str | None
    time_left: str | None
    findings: Findings | None
    last: Sequence[LastRun]
    cautions: Sequence[str]
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> Tally:
        return sum(self.tallies.values(), Tally())


def draw_findings(
    results: pl.DataFrame,
    optima: Mapping[float, Optimum],
    problems: Mapping[float, str],
    sentence: str,
) -> Findings:
    """Findings of at least one run.

    Args:
        results: rows of :data:`widthwise.runs.schema.RESULTS_SCHEMA`.
        optima: widening factor → optimum, where one could be located.
        problems: widening factor → why not.
        sentence: the law so far, or why there is none.
    """
    settings, chosen_on = setting_rows(results), selected_on(results)
    rows = optimum_rows(settings, optima)
    return Findings(
        num_runs=len(results),
        sentence=sentence,
        optima=rows,
        problems=problems,
        chosen_on=chosen_on,
        image=drawn(accuracy_figure(settings, rows, chosen_on), FIGURE),
        caption=captions.accuracy_caption(settings, rows, chosen_on),
    )


def render_live(content: LiveContent) -> str:
    """The page as text."""
    return template("live.html.j2").render(content=content, name=FIGURE)


def render_trouble(place: str, problem: str, refresh: float | None) -> str:
    """The page while the study cannot be read, which may pass."""
    return template("live_trouble.html.j2").render(place=place, problem=problem, refresh=refresh)
