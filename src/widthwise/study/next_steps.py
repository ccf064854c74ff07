"""What would decide more: settings to add to a study, and the command that runs them."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from widthwise.adviser.commands import extend_command
from widthwise.analysis import Law, Optimum
from widthwise.analysis.law import ZONES
from widthwise.analysis.settings import NOT_ARRIVED, STABLE_SHARE
from widthwise.runs.analyses import Summary
from widthwise.runs.tables import SettingRow
from widthwise.runs.trust import FEW_SEEDS
from widthwise.study.grid_spec import GridSpec
from widthwise.study.spec import StudySpec
from widthwise.text import count, exact, exact_list, listing, number

# Nearer than this to the edge of a verdict, no number of runs is worth asking for.
_AT_THE_EDGE = 0.04
MOST_TIMES = 200.0
# More than so many times the runs, and a wider range of widths is cheaper.
_DEAR = 4.0
# Values beyond an edge, by the ratio of the grid; so many seeds where there was one.
_TO_ADD = 3
_ENOUGH_SEEDS = 8


@dataclass(frozen=True, kw_only=True)
class _Step:
    """What is not known of a width, what would tell, and the grid of that."""

    why: str
    add: str
    grid: GridSpec | None = None


def next_steps(
    spec: StudySpec, settings: Sequence[SettingRow], summary: Summary, num_train: int, place: str
) -> tuple[tuple[str, ...], str | None]:
    """Sentences, each with what to add, and the command; none if all is decided.

    Args:
        spec: what the study asks now.
        settings: its runs that have landed.
        summary: what they say.
        num_train: training examples.
        place: of the study, for the command.
    """
    steps: dict[tuple[str, str], list[float]] = {}
    grids: dict[tuple[str, str], GridSpec] = {}
    widths = sorted({row.widening_factor for row in settings})
    for width in widths:
        here = [row for row in settings if row.widening_factor == width]
        step = _step_at(width, here, spec, summary.optima.get(width), num_train)
        if step is not None:
            key = (step.why, step.add)
            steps.setdefault(key, []).append(width)
            if step.grid is not None:
                grids.setdefault(key, step.grid)
    said = [f"At w = {exact_list(at)} {why}: {add}." for (why, add), at in steps.items()]
    added = [
        grid.model_copy(update={"widening_factor": tuple(steps[key])})
        for key, grid in grids.items()
    ]
    overrides: list[str] = []
    changed = list(spec.grid)
    if any(why == NOT_ARRIVED for why, _ in steps):
        overrides.append(_longer(spec))
    fewest = min((row.num_seeds for row in settings), default=FEW_SEEDS)
    if fewest < FEW_SEEDS and spec.search is None:
        said.append(f"{count(fewest, 'seed')} a setting: add seeds, to {_ENOUGH_SEEDS}.")
        changed = [_with_seeds(grid, _ENOUGH_SEEDS) for grid in changed]
        added = [_with_seeds(grid, _ENOUGH_SEEDS) for grid in added]
    elif not steps and summary.law is not None and summary.law.verdict == "inconclusive":
        sentence, changed, more = _more_for_law(summary.law, spec, widths)
        said.append(sentence)
        overrides += more
    if len(widths) == 1:
        wider = [2.0 * widths[0], 4.0 * widths[0]]
        said.append(f"One width has no law: add w = {exact_list(wider)}.")
        changed = [_with_widths(grid, wider) for grid in changed]
    if spec.search is not None:
        changed, added = _merged(changed, added), []
    if [*changed, *added] != list(spec.grid):
        overrides.insert(0, _grid_override(spec.grid, changed, added))
    if not overrides:
        return tuple(said), None
    return tuple(said), extend_command(place, overrides)


def times_the_runs(exponent: float, interval: tuple[float, float]) -> float | None:
    """How many times the runs until the interval leaves all edges of verdicts behind: it narrows
    as their square root. None if the exponent lies at an edge.

    >>> times_the_runs(1.0, (0.5, 1.5))
    4.0
    """
    edges = [edge for zone in ZONES.values() for edge in zone]
    room = min(abs(exponent - edge) for edge in edges)
    half = max(exponent - interval[0], interval[1] - exponent)
    if room < _AT_THE_EDGE:
        return None
    return min(max((half / room) ** 2, 1.0), MOST_TIMES)


def _step_at(
    width: float,
    here: Sequence[SettingRow],
    spec: StudySpec,
    optimum: Optimum | None,
    num_train: int,
) -> _Step | None:
    """What would locate the optimum of a width; None if it is, or if nothing of its grid would."""
    grid = next((grid for grid in spec.grid if width in grid.widening_factor), None)
    if grid is None:
        return None
    scales = sorted({float(f"{row.normalized_noise_scale:.6g}") for row in here})
    stable = [row for row in here if row.num_survived >= STABLE_SHARE * row.num_seeds]
    if optimum is None:
        if len(stable) < len(here) / 2.0:
            return _beyond("fewer than three settings are stable", "low", grid, scales, num_train)
        why = f"{count(len(scales), 'noise scale')} cannot show a peak"
        both = [_beyond(why, side, grid, scales, num_train) for side in ("low", "high")]
        return _joined(both)
    undecided = optimum.is_flat or optimum.censoring != "none"
    if undecided and optimum.is_saturated:
        why = "accuracy is saturated, so that no setting can be seen to be better"
        return _Step(why=why, add="choose harder data or fewer training examples")
    if optimum.is_flat or not undecided:
        return None
    if optimum.reason == NOT_ARRIVED:
        return _Step(why=NOT_ARRIVED, add=f"train longer, {_longer(spec).replace('=', ' = ')}")
    usable = [scale for scale in scales if scale <= optimum.measured[1] * (1.0 + 1e-5)]
    if optimum.reason == "stability":
        return _slower(grid, usable, [x for x in scales if x not in usable])
    edge = optimum.measured[0 if optimum.censoring == "low" else 1]
    where = "below" if optimum.censoring == "low" else "above"
    why = f"the optimum may lie {where} ḡ = {number(edge)}"
    limited = optimum.reason != "edge of the grid"
    return _beyond(why, optimum.censoring, grid, usable, num_train, limited=limited)


def _beyond(
    why: str,
    side: str,
    grid: GridSpec,
    scales: Sequence[float],
    num_train: int,
    *,
    limited: bool = False,
) -> _Step:
    """Settings beyond the quietest, or the noisiest, by the ratio of the grid; `limited`: by what a
    batch can be, so that it takes another ε."""
    ratio = _ratio(scales)
    if grid.normalized_noise_scale is not None:
        end = scales[0] if side == "low" else scales[-1]
        values = [_rounded(end * ratio ** (p if side == "high" else -p)) for p in _POWERS]
        fields: dict[str, Any] = {"normalized_noise_scale": tuple(sorted(values))}
        add = f"add ḡ = {_list(sorted(values))}"
        if side == "high" and limited and grid.stability_margin < 1.0:
            margin = min(1.0, 2.0 * grid.stability_margin)
            fields["stability_margin"] = margin
            add += f", with ε up to {exact(margin)} of the largest stable one"
        return _Step(why=why, add=add, grid=grid.model_copy(update=fields))
    assert grid.learning_rate is not None
    assert grid.batch_size is not None
    if side == "low":
        sizes = [grid.batch_size[-1] * 2**p for p in _POWERS]
        sizes = [size for size in sizes if size <= num_train]
        rates = [_rounded(grid.learning_rate[0] / 2.0**p) for p in _POWERS]
    else:
        sizes = [grid.batch_size[0] // 2**p for p in _POWERS]
        sizes = [size for size in sizes if size >= 1]
        rates = [_rounded(grid.learning_rate[-1] * 2.0**p) for p in _POWERS]
    if sizes:
        fields = {"batch_size": tuple(sorted(sizes))}
        return _Step(
            why=why, add=f"add B = {_list(sorted(sizes))}", grid=grid.model_copy(update=fields)
        )
    fields = {"learning_rate": tuple(sorted(rates))}
    return _Step(
        why=why, add=f"add ε = {_list(sorted(rates))}", grid=grid.model_copy(update=fields)
    )


_POWERS = range(1, _TO_ADD + 1)


def _slower(grid: GridSpec, usable: Sequence[float], lost: Sequence[float]) -> _Step:
    """The same noise at half the learning rate, which may bear it."""
    why = f"training diverges above ḡ = {number(usable[-1])}"
    if grid.normalized_noise_scale is not None:
        values = (*usable[-1:], *lost[:_TO_ADD])
        fields: dict[str, Any] = {
            "normalized_noise_scale": tuple(map(_rounded, values)),
            "stability_margin": grid.stability_margin / 2.0,
        }
        add = f"add ḡ = {_list(fields['normalized_noise_scale'])} at half the ε"
        return _Step(why=why, add=add, grid=grid.model_copy(update=fields))
    assert grid.learning_rate is not None
    assert grid.batch_size is not None
    rate = _rounded(grid.learning_rate[0] / 2.0)
    sizes = tuple(sorted({max(1, size // 2) for size in grid.batch_size[:_TO_ADD]}))
    add = f"add ε = {exact(rate)} with B = {_list(sizes)}"
    fields = {"learning_rate": (rate,), "batch_size": sizes}
    return _Step(why=why, add=add, grid=grid.model_copy(update=fields))


def _joined(steps: Sequence[_Step]) -> _Step:
    """Both sides in one grid."""
    merged = steps[0]
    for step in steps[1:]:
        assert merged.grid is not None
        assert step.grid is not None
        names = ("normalized_noise_scale", "learning_rate", "batch_size", "stability_margin")
        fields: dict[str, Any] = {}
        for name in names:
            one, other = getattr(merged.grid, name), getattr(step.grid, name)
            if isinstance(one, tuple) and one != other:
                fields[name] = tuple(sorted({*one, *other}))
        named = {
            "normalized_noise_scale": "ḡ",
            "batch_size": "B",
            "learning_rate": "ε",
        }
        said = [f"add {named[name]} = {_list(values)}" for name, values in fields.items()]
        merged = _Step(
            why=merged.why, add="; ".join(said), grid=merged.grid.model_copy(update=fields)
        )
    return merged


def _more_for_law(
    law: Law, spec: StudySpec, widths: Sequence[float]
) -> tuple[str, list[GridSpec], list[str]]:
    """What would decide how the optimum moves, where every optimum is located."""
    times = None
    if all(map(math.isfinite, law.interval)):
        times = times_the_runs(law.exponent, law.interval)
    if times is not None and times <= _DEAR:
        if spec.search is not None:
            wanted = _rounded((law.interval[1] - law.interval[0]) / math.sqrt(times))
            sentence = f"{_about(times)} {_WOULD}."
            return sentence, list(spec.grid), [f"search.exponent_precision={wanted:g}"]
        seeds = max(math.ceil(times * len(grid.seeds)) for grid in spec.grid)
        sentence = f"{_about(times)}, {seeds} seeds, {_WOULD}."
        return sentence, [_with_seeds(grid, seeds) for grid in spec.grid], []
    wider = [2.0 * widths[-1]]
    sentence = (
        f"A wider range of widths {_WOULD}, sooner than more seeds: add w = {exact_list(wider)}."
    )
    grids = [
        _with_widths(grid, wider) if widths[-1] in grid.widening_factor else grid
        for grid in spec.grid
    ]
    return sentence, grids, []


_WOULD = "would decide how the best ḡ goes with width, if the estimate stays"


def _about(times: float) -> str:
    return f"About {number(times, 2)} times the runs"


def _longer(spec: StudySpec) -> str:
    """Twice the training."""
    for name in ("steps", "epochs", "physical_time"):
        value = getattr(spec.training, name)
        if value is not None:
            return f"training.{name}={2 * value:.12g}"
    raise AssertionError("a specification says how long to train")


def _with_seeds(grid: GridSpec, num_seeds: int) -> GridSpec:
    """With more seeds, those that it has first."""
    more = (seed for seed in itertools.count() if seed not in grid.seeds)
    missing = max(0, num_seeds - len(grid.seeds))
    seeds = sorted({*grid.seeds, *itertools.islice(more, missing)})
    return grid.model_copy(update={"seeds": tuple(seeds)})


def _with_widths(grid: GridSpec, widths: Iterable[float]) -> GridSpec:
    return grid.model_copy(
        update={"widening_factor": tuple(sorted({*grid.widening_factor, *widths}))}
    )


def _merged(grids: Sequence[GridSpec], added: Sequence[GridSpec]) -> list[GridSpec]:
    """A search has one grid a width, and runs of a longer one what it needs only."""
    merged = []
    for grid in grids:
        own = [x for x in added if set(x.widening_factor) <= set(grid.widening_factor)]
        scales = {s for x in (grid, *own) for s in x.normalized_noise_scale or ()}
        merged.append(grid.model_copy(update={"normalized_noise_scale": tuple(sorted(scales))}))
    return merged


def _grid_override(
    before: Sequence[GridSpec], grids: Sequence[GridSpec], added: Sequence[GridSpec]
) -> str:
    """``grid=[{…}, …]``, as TOML: the grids that are there, then those that are new; of a single
    one what changed, if that is one thing.

    >>> one = GridSpec(widening_factor=1, learning_rate=0.5, batch_size=[1, 2], seeds=2)
    >>> two = one.model_copy(update={"seeds": (0, 1, 2), "widening_factor": (2.0,)})
    >>> print(_grid_override([one], [one.model_copy(update={"seeds": (0, 1, 2)})], []))
    grid.seeds=3
    >>> print(_grid_override([one], [two], []))
    grid=[{widening_factor=[2], seeds=3, learning_rate=[0.5], batch_size=[1, 2]}]
    """
    if len(before) == len(grids) == 1 and not added:
        first, then = (grid.model_dump(mode="json") for grid in (before[0], grids[0]))
        *others, name = [key for key in then if then[key] != first[key]]
        if not others:
            return f"grid.{name}={_toml(name, then[name])}"
    tables = []
    for grid in (*grids, *added):
        fields = grid.model_dump(mode="json", exclude_defaults=True)
        tables.append("{" + ", ".join(f"{k}={_toml(k, v)}" for k, v in fields.items()) + "}")
    return f"grid=[{', '.join(tables)}]"


def _toml(name: str, value: Any) -> str:
    if name == "seeds" and list(value) == list(range(len(value))):
        return str(len(value))
    if isinstance(value, list):
        return f"[{', '.join(f'{x:.12g}' for x in value)}]"
    return f"{value:.12g}"


def _ratio(scales: Sequence[float]) -> float:
    """Of neighbors, in the middle; 2 where there are none."""
    ratios = sorted(b / a for a, b in itertools.pairwise(scales))
    return ratios[len(ratios) // 2] if ratios else 2.0


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _list(values: Iterable[float]) -> str:
    return listing([number(value) for value in values])
