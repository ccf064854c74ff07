"""The largest stable learning rate, measured where a plan needs it to choose ε."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from widthwise.data import Dataset
from widthwise.errors import FitError
from widthwise.families import WidthFamily
from widthwise.recipe import Recipe
from widthwise.training import PackJob, Replica, train_pack

# A probe: ε in half-octaves over what any sane parameterization needs, a few seeds, a short run.
_LEARNING_RATES = tuple(float(x) for x in 2.0 ** np.arange(-12, 10.25, 0.5))
_SEEDS = (0, 1, 2)
_STEPS = 200
BATCH_SIZE = 64
_STABLE_SHARE = 0.9


def stable_learning_rate(
    family: WidthFamily,
    dataset: Dataset,
    widening_factor: float,
    momentum: float,
    *,
    max_replicas: int,
    recipe: Recipe | None = None,
) -> float:
    """The largest ε of a half-octave grid up to which at least 90 % of seeds end a short probe
    (200 steps, batches of 64) below their initial loss.

    Args:
        max_replicas: most runs to train at once.
        recipe: loss, batch norm's statistics and the rest of training; its schedule does not
            count. None is the default one.

    Raises:
        FitError: if not even the smallest is stable.
    """
    constant = replace(recipe or Recipe(), schedule="constant", warmup=0.0, decay_at=())
    probed = _probe(family, dataset, widening_factor, momentum, max_replicas, constant)
    stable = [rate for rate, sound in itertools.takewhile(lambda pair: pair[1], probed)]
    if not stable:
        raise FitError(
            f"no learning rate down to {_LEARNING_RATES[0]:.2g} is stable at widening factor "
            f"{widening_factor:g} with momentum {momentum:g}; look at the data and the network"
        )
    return stable[-1]


def _probe(
    family: WidthFamily,
    dataset: Dataset,
    widening_factor: float,
    momentum: float,
    max_replicas: int,
    recipe: Recipe,
) -> Iterator[tuple[float, bool]]:
    """Each learning rate, from the smallest, and whether it is stable; trained as asked for."""
    at_once = max(1, max_replicas // len(_SEEDS))
    for first in range(0, len(_LEARNING_RATES), at_once):
        rates = _LEARNING_RATES[first : first + at_once]
        job = _probe_job(dataset, widening_factor, momentum, rates, recipe)
        sound = [result.status == "ok" for result in train_pack(family, dataset, job)]
        shares = np.array(sound).reshape(len(rates), len(_SEEDS)).mean(axis=1)
        yield from zip(rates, (bool(share >= _STABLE_SHARE) for share in shares), strict=True)


def _probe_job(
    dataset: Dataset,
    widening_factor: float,
    momentum: float,
    rates: Sequence[float],
    recipe: Recipe,
) -> PackJob:
    ghost = recipe.ghost_batch_size or 1
    return PackJob(
        widening_factor=widening_factor,
        batch_size=max(ghost, min(BATCH_SIZE, dataset.num_train) // ghost * ghost),
        steps=_STEPS,
        replicas=tuple(
            Replica(learning_rate=rate, momentum=momentum, seed=seed)
            for rate in rates
            for seed in _SEEDS
        ),
        evaluations=8,
        recipe=recipe,
    )
