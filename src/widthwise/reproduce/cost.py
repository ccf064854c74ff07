"""What a preset costs, before anything is read from disk or trained."""

from dataclasses import dataclass

import torch

from widthwise.data import DataSpec
from widthwise.families import WidthFamily
from widthwise.reproduce.sizes import DATA, Source
from widthwise.study.cost import ModuleCost, module_cost
from widthwise.study.schedule import lay_out
from widthwise.study.spec import StudySpec
from widthwise.training import MAX_TRAIN_EVALUATION

_NUM_CLASSES = 10
_SAMPLE = 2  # batch norm needs two


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a study, or of several.

    Attributes:
        runs: at most.
        steps: updates, counted a run.
        flops: floating-point operations, of training and evaluation. Of a search: if its runs
            fall evenly on all settings; those of low noise cost the most.
    """

    runs: int = 0
    steps: float = 0.0
    flops: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            runs=self.runs + other.runs,
            steps=self.steps + other.steps,
            flops=self.flops + other.flops,
        )

    def hours(self, gflops: float) -> float:
        """At a rate of so many 10⁹ operations a second.

        >>> Cost(runs=1, flops=3.6e12).hours(1.0)
        1.0
        """
        return self.flops / (gflops * 1e9) / 3600.0


def study_cost(spec: StudySpec) -> Cost:
    """The cost of a preset's study: its data are known by name, and need not be here."""
    source = _source(spec.data)
    family = spec.family.family(source.shape, _NUM_CLASSES)
    num_train = spec.data.num_train or source.num_train
    num_test = spec.data.num_test or source.num_test
    evaluated = min(num_train, MAX_TRAIN_EVALUATION) + num_test
    settings, _ = lay_out(spec, family, num_train, {})
    widths = sorted({setting.widening_factor for setting in settings})
    costs = {width: _module_cost(family, source, width) for width in widths}
    total = Cost()
    for setting, seeds in settings.items():
        cost = costs[setting.widening_factor]
        runs = 1 if spec.search is not None else len(seeds)
        total += Cost(
            runs=runs,
            steps=float(runs * setting.steps),
            flops=runs
            * (
                setting.steps * setting.batch_size * cost.training_flops
                + spec.training.evaluations * evaluated * cost.forward_flops
            ),
        )
    if spec.search is None or spec.search.max_runs is None:
        return total
    share = spec.search.max_runs / total.runs
    return Cost(runs=spec.search.max_runs, steps=share * total.steps, flops=share * total.flops)


def _source(data: DataSpec) -> Source:
    return next(s for s in DATA.values() if data.name in (s.name, s.bundled))


def _module_cost(family: WidthFamily, source: Source, width: float) -> ModuleCost:
    inputs = torch.zeros(_SAMPLE, *source.shape)
    return module_cost(family.build(width), inputs, torch.zeros(_SAMPLE, dtype=torch.long))
