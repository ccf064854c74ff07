"""What a worker does: train one pack of a study, with checkpoints, and land its runs."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import torch

from widthwise.errors import InputError
from widthwise.execution import Emit, Finished, Noted, Progressed
from widthwise.hardware import describe_processor, installed_versions
from widthwise.runs.address import Address
from widthwise.runs.blobs import Parts
from widthwise.runs.landing import Landing, digest_of
from widthwise.runs.schema import MEASURED, MEASURED_SCHEMA, PROVENANCE
from widthwise.runs.sealed import BrokenSealError
from widthwise.runs.store import Store
from widthwise.runs.weights import TrainedWeights
from widthwise.study.context import Context, kept_context
from widthwise.study.schedule import ScheduledPack
from widthwise.training import PackTrainer, RunResult

# A pack that is killed loses at most this, plus the way to its next evaluation.
_SECONDS_BETWEEN_CHECKPOINTS = 15.0


@dataclass(frozen=True)
class PackCall:
    """Trains one pack of the study in ``directory``; picklable."""

    directory: Path
    store: Path | Address | Parts
    pack: ScheduledPack

    def __call__(self, emit: Emit) -> Finished:
        store, name, keys = Store(self.store), self.pack.name, self.pack.keys
        if not self.pack.keep and store.had_landed(keys):
            return Finished(name, "already landed")
        if store.leases.is_crowded():
            return Finished(name, "busy")
        with store.leases.hold(keys) as mine:
            if not mine:
                return Finished(name, "busy")
            # Looked up under the claim: whoever held it before may have landed some.
            missing = store.missing(keys)
            if not self.pack.keep_for_now:
                missing |= self._without_weights(store)
            if not missing:
                return Finished(name, "already landed")
            context = kept_context(self.directory)
            if context.group != self.pack.group:
                raise InputError(
                    f"the study in {self.directory} was given another specification while it ran; "
                    "run it again"
                )
            diverged = _train(store, context, self.pack.only(missing), emit, name)
            return Finished(name, "landed", diverged)

    def _without_weights(self, store: Store) -> frozenset[str]:
        """Runs whose weights are to be kept for good, and are not there."""
        keep = self.pack.keep
        return keep - store.weights.keys() if keep else keep


def _train(store: Store, context: Context, pack: ScheduledPack, emit: Emit, task: str) -> int:
    """Train and land a pack; how many of its runs diverged.

    Args:
        task: what to call it in events.
    """
    name, started = pack.name, perf_counter()
    trainer = _trainer(context, pack)
    earlier = 0.0
    try:
        state = store.checkpoints.read(name, pack.keys)
        if state is not None:
            loaded = torch.load(io.BytesIO(state), weights_only=True, map_location="cpu")
            trainer.restore(loaded["trainer"])
            earlier = float(loaded["seconds"])
    except Exception as error:
        said = str(error) if isinstance(error, BrokenSealError) else "it is another pack's"
        emit(Noted(task, f"checkpoint {name} is not used: {said}; its runs begin anew"))
        trainer = _trainer(context, pack)
    saved = monotonic()
    while not trainer.done:
        trainer.advance(lambda step: emit(Progressed(task, step, trainer.num_diverged)))
        if monotonic() - saved >= _SECONDS_BETWEEN_CHECKPOINTS and not trainer.done:
            seconds = earlier + perf_counter() - started
            buffer = io.BytesIO()
            torch.save({"trainer": trainer.state(), "seconds": seconds}, buffer)
            store.checkpoints.write(name, pack.keys, buffer.getvalue())
            saved = monotonic()
    results = trainer.results()
    seconds = (earlier + perf_counter() - started) / len(results)
    for i, (key, run, result) in enumerate(zip(pack.keys, pack.runs, results, strict=True)):
        measured = _measured(context, run.widening_factor, result)
        weights = trainer.weights(i) if key in pack.keep else None
        if weights is not None:  # first: what has landed is not trained again
            digest, for_now = digest_of(measured), pack.keep_for_now
            store.weights.keep(TrainedWeights(*weights), key, digest, for_now=for_now)
        store.land(
            Landing(
                group=pack.group,
                run=run,
                measured=measured,
                provenance=_provenance(context, name, result, seconds),
            )
        )
    store.checkpoints.forget(name)
    return sum(result.status == "diverged" for result in results)


def _trainer(context: Context, pack: ScheduledPack) -> PackTrainer:
    return PackTrainer(
        context.family,
        context.dataset,
        pack.job,
        context.device,
        context.spec.packing.engine,
    )


def _measured(context: Context, width: float, result: RunResult) -> Mapping[str, Any]:
    values = {
        "family": context.family.name,
        "init_variance": float(context.family.init_variance(width)),
        "num_train": context.dataset.num_train,
        "num_parameters": result.num_parameters,
        "status": result.status,
        "diverged_at_step": result.diverged_at_step,
        "initial_train_loss": result.initial_train_loss,
        "final_train_loss": result.final_train_loss,
        "curve_step": result.curve_steps.tolist(),
        **{
            f"curve_{name}": None if (curve := result.curves.get(name)) is None else curve.tolist()
            for name in MEASURED
        },
    }
    assert values.keys() == MEASURED_SCHEMA.keys()
    return values


def _provenance(
    context: Context, pack: str, result: RunResult, seconds: float
) -> Mapping[str, Any]:
    processor, instruction_set = describe_processor()
    values = {
        "engine": result.engine,
        "pack": pack,
        "device": str(context.device),
        "processor": processor,
        "instruction_set": instruction_set,
        "versions": ", ".join(" ".join(pair) for pair in installed_versions()),
        "seconds": seconds,
    }
    assert values.keys() == PROVENANCE.keys()
    return values
