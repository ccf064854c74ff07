"""Runs that nobody trained: as many as a store should bear, with curves like measured ones."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from widthwise.runs.key import Group, Run
from widthwise.runs.landing import Landing
from widthwise.runs.schema import MEASURED
from widthwise.runs.store import Store, part_of
from widthwise.sgd.evaluations import evaluation_steps

EVALUATIONS, STEPS = 20, 2000
NUM_TRAIN, NUM_TEST = 4000, 1000
SEEDS = 10
FAMILY = {"kind": "mlp", "parameterization": "ntk"}
DATA = "0" * 64
_TOGETHER = 4096


def group(evaluations: int = EVALUATIONS) -> Group:
    """What the synthetic runs share."""
    return Group(family=FAMILY, data=DATA, recipe={}, sampling="epochs", evaluations=evaluations)


def hyper_parameters(number: int) -> Run:
    """Of the run with this number."""
    setting, seed = divmod(number, SEEDS)
    return Run(
        widening_factor=float(1 + setting % 8),
        learning_rate=0.01 * 1.001 ** (setting // 8),
        batch_size=8,
        momentum=0.0,
        steps=STEPS,
        seed=seed,
    )


def synthetic_run(number: int, shared: Group | None = None, *, salt: int = 0) -> Landing:
    """A run as it could have been trained: its curves have the digits of measured ones.

    Args:
        number: other runs have others.
        shared: its group; None takes :func:`group`.
        salt: other results of the same run have others.
    """
    shared = group() if shared is None else shared
    rng = np.random.default_rng([number, salt])
    steps = evaluation_steps(STEPS, shared.evaluations)
    measured = {
        "family": "mlp",
        "init_variance": 2.0,
        "num_train": NUM_TRAIN,
        "num_parameters": 12345,
        "status": "ok",
        "diverged_at_step": None,
        "curve_step": steps,
        **dict.fromkeys((f"curve_{name}" for name in MEASURED), None),
    }
    decay = np.exp(-np.arange(len(steps)) / 5)
    for part, size in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        losses = 0.2 + 2 * decay * rng.uniform(0.9, 1.1, len(steps))
        hits = np.round(size * (0.9 - 0.8 * decay) + rng.normal(size=len(steps)))
        measured[f"curve_{part}_loss"] = losses.astype(np.float32).astype(float).tolist()
        measured[f"curve_{part}_accuracy"] = (hits / size).tolist()
    losses = measured["curve_train_loss"]
    measured |= {"initial_train_loss": losses[0], "final_train_loss": losses[-1]}
    provenance = {
        "engine": "chain",
        "pack": f"{number // SEEDS:032x}",
        "device": "cpu",
        "processor": "Intel(R) Xeon(R) Processor (family 6, model 167, cache 491520 KB)",
        "instruction_set": "AVX512",
        "versions": "widthwise 0.2.0, torch 2.13.0+cpu, numpy 2.4.6, python 3.11.7",
        "seconds": float(rng.uniform(0.1, 10.0)),
    }
    return Landing(
        group=shared, run=hyper_parameters(number), measured=measured, provenance=provenance
    )


def land_quickly(store: Store, landings: Iterable[Landing]) -> None:
    """Without waiting for the disk, run by run; what has landed of them is replaced."""
    for landing in landings:
        name, content = f"{landing.key}.json", landing.encode()
        if isinstance(store.place, Path):
            (store.place / "landed" / name).write_bytes(content)
        else:
            part_of(store.place, "landed").replace(name, content)


def synthetic_study(directory: Path, count: int, *, loose: int = 0, missing: int = 0) -> None:
    """A study that asks for many runs.

    Args:
        directory: of the study.
        count: its runs that have landed.
        loose: how many of them lie in files of their own.
        missing: how many more it asks for.
    """
    from widthwise.study.asked import Asked
    from widthwise.study.record import DataRecord, StudyRecord
    from widthwise.study.spec import StudySpec

    directory.mkdir(parents=True)
    spec = StudySpec.parse(
        {
            "title": "Synthetic",
            "family": {"kind": "mlp", "parameterization": "ntk"},
            "grid": {"widening_factor": [1, 2], "learning_rate": [0.1], "batch_size": [8]},
            "training": {"steps": STEPS, "evaluations": EVALUATIONS},
        }
    )
    data = DataRecord(
        name="synthetic",
        in_memory=False,
        fingerprint=DATA,
        input_shape=(2, 3),
        num_classes=3,
        num_train=NUM_TRAIN,
        num_test=NUM_TEST,
        num_validation=0,
    )
    StudyRecord(spec=spec, data=data, family=FAMILY).write(directory)
    store, shared = Store(directory / "store"), group()
    store.prepare()
    for first in range(0, count - loose, _TOGETHER):
        numbers = range(first, min(first + _TOGETHER, count - loose))
        land_quickly(store, [synthetic_run(number, shared) for number in numbers])
        store.compact()
    land_quickly(store, (synthetic_run(n, shared) for n in range(count - loose, count)))
    runs = map(hyper_parameters, range(count + missing))
    Asked.of({shared.key(run): run for run in runs}).write(directory)
