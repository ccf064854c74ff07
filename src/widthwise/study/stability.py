"""The largest stable learning rate, measured where a plan needs it to choose ε."""

import numpy as np

from widthwise.data import Dataset
from widthwise.errors import FitError
from widthwise.families import WidthFamily
from widthwise.training import PackJob, Replica, train_pack

# A probe: ε in half-octaves over what any sane parameterization needs, a few seeds, a short run.
_LEARNING_RATES = tuple(float(x) for x in 2.0 ** np.arange(-12, 10.25, 0.5))
_SEEDS = (0, 1, 2)
_STEPS = 200
_BATCH_SIZE = 64
_STABLE_SHARE = 0.9


def stable_learning_rate(
    family: WidthFamily, dataset: Dataset, widening_factor: float, momentum: float
) -> float:
    """The largest ε of a half-octave grid up to which at least 90 % of seeds end a short probe
    (200 steps, batches of 64) below their initial loss.

    Raises:
        FitError: if not even the smallest is stable.
    """
    replicas = tuple(
        Replica(learning_rate=rate, momentum=momentum, seed=seed)
        for rate in _LEARNING_RATES
        for seed in _SEEDS
    )
    job = PackJob(
        widening_factor=widening_factor,
        batch_size=min(_BATCH_SIZE, dataset.num_train),
        steps=_STEPS,
        replicas=replicas,
        evaluations=8,
    )
    outcomes = train_pack(family, dataset, job)
    stable = np.array([result.status == "ok" for result in outcomes]).reshape(-1, len(_SEEDS))
    below = stable.mean(axis=1) >= _STABLE_SHARE
    if not below[0]:
        raise FitError(
            f"no learning rate down to {_LEARNING_RATES[0]:.2g} is stable at widening factor "
            f"{widening_factor:g} with momentum {momentum:g}; look at the data and the network"
        )
    first_unstable = int(np.argmin(below)) if not below.all() else len(below)
    return _LEARNING_RATES[first_unstable - 1]
