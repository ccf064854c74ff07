"""Measures the largest stable learning rate of one width, by training packs over ε × seeds."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import nn

from widthwise.data import Dataset
from widthwise.errors import FitError, InputError
from widthwise.families import UserFamily, WidthFamily
from widthwise.hardware import resolve_device
from widthwise.probes.hessian import top_hessian_eigenvalue
from widthwise.probes.shares import BoolArray, FloatArray, Scan, search, threshold_draws
from widthwise.probes.stable_rate import StableLearningRate
from widthwise.sgd.batches import whole_batch
from widthwise.sgd.losses import mean_loss
from widthwise.sgd.recipe import Recipe
from widthwise.training import PackJob, PackTrainer, Replica
from widthwise.training.evaluation import largest_activation
from widthwise.training.networks import build_modules, check_network, network_inputs

Build = Callable[..., nn.Module]

# Examples behind λ: at most this many, and no more than give one layer this many outputs.
_CURVATURE_EXAMPLES = 1024
_CURVATURE_OUTPUTS = 1 << 22
# Floats that Lanczos may keep, one vector of the parameters an iteration: 2 GB.
_LANCZOS_FLOATS = 1 << 28
_SAMPLE = 8
_NUM_DRAWS = 2000
# Years of training: a slip of the pen.
_MOST_STEPS = 10**10


def max_stable_learning_rate(
    family_or_build: WidthFamily | Build,
    dataset: Dataset,
    *,
    widening_factor: float = 1.0,
    batch_size: int = 64,
    momentum: float = 0.0,
    steps: int = 200,
    seeds: int = 10,
    share: float = 0.9,
    tolerance: float = 0.05,
    recipe: Recipe | None = None,
    confidence: float = 0.95,
    max_replicas: int = 32,
    curvature: bool = True,
    seed: int = 0,
    device: str = "auto",
    on_round: Callable[[Scan], None] | None = None,
) -> StableLearningRate:
    """The largest ε at which at least 90 % of seeds end a short run below their initial loss.

    Learning rates two octaves apart, from 2(1+m)/λ on, find where the share of stable seeds falls
    below ``share``; then up to three more at a time, until neighbours differ by less than
    ``tolerance``. All runs of a round share packs. What is found holds for runs of this length:
    just past the edge a run needs time to blow up, by e^4δ a step at ε = (1+δ)·2/λ; 200 steps
    find the edge of a quadratic to about 1 %.

    Args:
        family_or_build: a family, or a function of the widening factor that returns a module
            (called under ``torch.manual_seed``; a parameter named ``seed`` receives the seed).
        dataset: the loss is that of its training examples (at most 10,000 of them).
        widening_factor: w.
        batch_size: B; N for full-batch descent.
        momentum: m in [0, 1).
        steps: length of a run, at least 2.
        seeds: runs at each ε, at least 2: seed, seed + 1, …
        share: of seeds, in (0, 1).
        tolerance: relative distance of neighbouring ε round the limit, in (0, 3].
        recipe: loss and the rest of training; its schedule does not count, ε is constant. None is
            the default one.
        confidence: of the interval.
        max_replicas: most runs to train at once; what is found does not depend on it.
        curvature: whether to measure λ; without it, or where the module cannot be differentiated
            twice, the search begins at ε = 1.
        seed: the first of the seeds, and of the draws behind the interval.
        device: "auto", "cpu", "cuda" or "cuda:N".
        on_round: told after every round what was tried.

    Raises:
        InputError: if a value is out of range, or the networks do not fit the data.
        FitError: if no learning rate is stable.
    """
    _check(momentum, steps, seeds, share, tolerance, confidence, max_replicas, seed)
    family = _family(family_or_build)
    constant = replace(recipe or Recipe(), schedule="constant", warmup=0.0, decay_at=())
    where = resolve_device(device)
    top = _curvature(family, dataset, widening_factor, constant, seed, where) if curvature else None
    shell = StableLearningRate(
        value=math.nan,
        interval=(math.nan, math.nan),
        confidence=confidence,
        widening_factor=float(widening_factor),
        batch_size=batch_size,
        momentum=momentum,
        nesterov=constant.nesterov,
        steps=steps,
        seeds=seeds,
        share=share,
        curvature=top,
        learning_rates=(),
        shares=(),
        samples=np.empty(0),
    )
    runs = _Runs(
        family=family,
        dataset=_training_part(dataset),
        job=PackJob(
            widening_factor=widening_factor,
            batch_size=batch_size,
            steps=steps,
            replicas=(),
            evaluations=2,
            late_fraction=1.0,
            recipe=constant,
        ),
        momentum=momentum,
        seeds=range(seed, seed + seeds),
        max_replicas=max_replicas,
        device=where,
    )
    bound = shell.curvature_bound
    scan = search(
        runs.stable,
        0.0 if bound is None else float(round(math.log2(bound))),
        share=share,
        octaves=math.log2(1.0 + tolerance),
        on_round=on_round,
    )
    return _with_findings(shell, scan, seed)


def _with_findings(shell: StableLearningRate, scan: Scan, seed: int) -> StableLearningRate:
    """The result, with value and interval read off a finished scan."""
    last = scan.last_stable(shell.share)
    rates = 2.0**scan.log2_rates
    value = float(rates[last])
    if last == len(rates) - 1:
        interval, samples = (value, math.inf), np.full(_NUM_DRAWS, np.nan)
    else:
        draws = threshold_draws(
            scan, shell.share, num_draws=_NUM_DRAWS, rng=np.random.default_rng(seed)
        )
        tail = (1.0 - shell.confidence) / 2.0
        low, high = 2.0 ** np.quantile(draws, [tail, 1.0 - tail])
        # What was seen lies inside: the limit of these very seeds is between these two.
        interval = (min(float(low), value), max(float(high), float(rates[last + 1])))
        samples = draws * math.log(2.0)
    return replace(
        shell,
        value=value,
        interval=interval,
        learning_rates=tuple(rates.tolist()),
        shares=tuple(scan.shares.tolist()),
        samples=samples,
    )


class _Runs:
    """Trains learning rates × seeds in packs."""

    def __init__(
        self,
        *,
        family: WidthFamily,
        dataset: Dataset,
        job: PackJob,
        momentum: float,
        seeds: range,
        max_replicas: int,
        device: torch.device,
    ) -> None:
        self._family, self._dataset, self._job = family, dataset, job
        self._momentum, self._seeds = momentum, seeds
        self._max_replicas, self._device = max_replicas, device

    def stable(self, log2_rates: FloatArray) -> BoolArray:
        """Octaves (k,) → which seeds are stable, (k, S)."""
        replicas = [
            Replica(learning_rate=float(rate), momentum=self._momentum, seed=seed)
            for rate in 2.0**log2_rates
            for seed in self._seeds
        ]
        sound = [result for part in self._parts(replicas) for result in self._train(part)]
        return np.array(sound).reshape(len(log2_rates), len(self._seeds))

    def _parts(self, replicas: list[Replica]) -> Iterator[tuple[Replica, ...]]:
        # Even parts: 30 runs as 15 + 15, not 16 + 14.
        count = math.ceil(len(replicas) / self._max_replicas)
        bounds = [round(i * len(replicas) / count) for i in range(count + 1)]
        for first, end in itertools.pairwise(bounds):
            yield tuple(replicas[first:end])

    def _train(self, replicas: tuple[Replica, ...]) -> list[bool]:
        job = replace(self._job, replicas=replicas)
        trainer = PackTrainer(self._family, self._dataset, job, self._device)
        while not trainer.done:
            trainer.advance()
        return [result.status == "ok" for result in trainer.results()]


def _training_part(dataset: Dataset) -> Dataset:
    """The data without what nobody looks at: evaluating it would cost more than training."""
    return replace(
        dataset,
        test_inputs=dataset.test_inputs[:1],
        test_labels=dataset.test_labels[:1],
        validation_inputs=None,
        validation_labels=None,
    )


def _family(family_or_build: WidthFamily | Build) -> WidthFamily:
    if hasattr(family_or_build, "build") and hasattr(family_or_build, "init_variance"):
        return cast(WidthFamily, family_or_build)
    if not callable(family_or_build) or isinstance(family_or_build, nn.Module):
        raise InputError(
            "family_or_build must be a width family or a function of the widening factor that "
            f"returns a torch.nn.Module, got {type(family_or_build).__name__}; write "
            "lambda w: MyNetwork(width=64 * w)"
        )
    name = getattr(family_or_build, "__qualname__", type(family_or_build).__name__)
    return UserFamily(reference=f"build:{name}", function=family_or_build)


def _curvature(
    family: WidthFamily,
    dataset: Dataset,
    widening_factor: float,
    recipe: Recipe,
    seed: int,
    device: torch.device,
) -> float | None:
    """λ of the first seed's network in training mode, weight decay added; None if it is not
    positive or the module does not allow it."""
    module = build_modules(family, widening_factor, [seed], recipe)[0]
    sample = network_inputs(module, dataset.train_inputs[:_SAMPLE])
    check_network(family, module, sample, dataset.num_classes, data=dataset.name)
    size = _CURVATURE_OUTPUTS // largest_activation(module, sample)
    size = min(dataset.num_train, _CURVATURE_EXAMPLES, max(size, 32))
    size = whole_batch(size, recipe.ghost_batch_size)
    # Evenly spaced: a file may be sorted by class.
    rows = np.linspace(0, dataset.num_train - 1, size).round().astype(np.int64)
    inputs = network_inputs(module, dataset.train_inputs[rows], device)
    labels = torch.from_numpy(dataset.train_labels[rows]).to(device)
    num_parameters = sum(p.numel() for p in module.parameters())
    try:
        top = top_hessian_eigenvalue(
            module.to(device),
            inputs,
            labels,
            mean_loss(recipe),
            tolerance=1e-3,
            max_iterations=max(10, min(100, _LANCZOS_FLOATS // max(num_parameters, 1))),
            seed=seed,
        )
    except (FitError, MemoryError, RuntimeError):  # an operation without a second derivative, say
        return None
    top += recipe.weight_decay
    return top if top > 0.0 else None


def _check(
    momentum: float,
    steps: int,
    seeds: int,
    share: float,
    tolerance: float,
    confidence: float,
    max_replicas: int,
    seed: int,
) -> None:
    rules: tuple[tuple[bool, str], ...] = (  # each message begins with the argument's name
        (0.0 <= momentum < 1.0, f"momentum must lie in [0, 1), got {momentum}"),
        (steps >= 2, f"steps must be at least 2, got {steps}; the default is 200"),
        (seeds >= 2, f"seeds must be at least 2, got {seeds}; one run says nothing of a share"),
        (0.0 < share < 1.0, f"share must lie in (0, 1), got {share}; the default is 0.9"),
        (
            1e-4 <= tolerance <= 3.0,
            f"tolerance must lie in [0.0001, 3], got {tolerance}; the default is 0.05",
        ),
        (0.0 < confidence < 1.0, f"confidence must lie in (0, 1), got {confidence}; try 0.95"),
        (max_replicas >= 1, f"max_replicas must be at least 1, got {max_replicas}; try 32"),
        (
            steps * seeds <= _MOST_STEPS,
            f"steps of all seeds together must be at most {_MOST_STEPS}, got {steps} × {seeds}",
        ),
        (seed >= 0, f"seed must not be negative, got {seed}"),
    )
    for sound, message in rules:
        if not sound:
            raise InputError(message, fields=(message.split()[0],))
