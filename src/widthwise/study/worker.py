"""What a worker does with one pack: claim it, train it, land its results."""

import json
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter

from widthwise.execution import Emit, Finished, Progressed
from widthwise.runs.schema import result_rows
from widthwise.runs.store import Store
from widthwise.study.context import Context, load_context
from widthwise.study.schedule import PlannedPack
from widthwise.training import PackTrainer

# A pack that is killed loses at most this, plus the way to its next evaluation.
_SECONDS_BETWEEN_CHECKPOINTS = 15.0


@dataclass(frozen=True)
class PackCall:
    """Trains one pack of the study in ``directory``; picklable."""

    directory: Path
    pack: PlannedPack

    def __call__(self, emit: Emit) -> Finished:
        store, key = Store(self.directory), self.pack.key
        with store.claim(key) as mine:
            if not mine:
                return Finished(key, "busy")
            # Looked up under the lock: whoever held it before may have landed the pack.
            if key in store.landed():
                return Finished(key, "already landed")
            return _train(store, load_context(self.directory), self.pack, emit)


def _train(store: Store, context: Context, pack: PlannedPack, emit: Emit) -> Finished:
    key, started = pack.key, perf_counter()
    trainer = PackTrainer(context.family, context.dataset, pack.job, context.device)
    earlier = 0.0
    checkpoint = store.read_checkpoint(key)
    if checkpoint is not None:
        trainer.restore(checkpoint["trainer"])
        earlier = checkpoint["seconds"]
    saved = monotonic()
    while not trainer.done:
        trainer.advance(lambda step: emit(Progressed(key, step, trainer.num_diverged)))
        if monotonic() - saved >= _SECONDS_BETWEEN_CHECKPOINTS and not trainer.done:
            seconds = earlier + perf_counter() - started
            store.write_checkpoint(key, {"trainer": trainer.state(), "seconds": seconds})
            saved = monotonic()
    results = trainer.results()
    rows = result_rows(
        results,
        pack.job,
        context.family,
        num_train=context.dataset.num_train,
        seconds=earlier + perf_counter() - started,
        key=key,
        spec_hash=context.spec.hash,
        data_fingerprint=context.data_fingerprint,
    )
    store.write_shard(key, rows, {"widthwise_spec": json.dumps(context.spec.fields())})
    store.forget_checkpoint(key)
    return Finished(key, "landed", sum(result.status == "diverged" for result in results))
