"""TensorBoard: a folder a run, with one file of events that is whole or absent.

The curves are scalars, and the settings are what the HPARAMS tab reads. A run's key is the end of
its file's name.
"""

import hashlib
import io
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from widthwise.errors import InputError
from widthwise.files import explained, whole_path, write_atomically
from widthwise.trackers.base import Findings, TrackedRun, TrackedStudy

_FOLDER = "tensorboard"
_EVENTS = "events.out.tfevents"
_IN_THE_NAME = ("widening_factor", "learning_rate", "batch_size", "momentum", "seed")
_VERSION = "brain.Event:2"


def open_tracker(place: str | None, folder: Path) -> "TensorBoard":
    """
    Args:
        place: a folder, ``--logdir`` of TensorBoard; None is ``tensorboard`` in the study's.
        folder: of the study.
    """
    return TensorBoard(folder / _FOLDER if place is None else whole_path(place))


class TensorBoard:
    """See :class:`widthwise.trackers.base.Tracker`.

    Args:
        place: the folder that TensorBoard is shown.
    """

    def __init__(self, place: Path) -> None:
        self._place = self._study = place

    @property
    def name(self) -> str:
        return f"tensorboard in {self._place}"

    def start(self, study: TrackedStudy) -> Collection[str]:
        self._study = self._place / study.id
        _make(self._study)
        ends = (path.name.rpartition(".")[2] for path in self._study.glob(f"*/*/{_EVENTS}.*"))
        return frozenset(ends)

    def run(self, run: TrackedRun) -> None:
        folder = self._study / _folder_name(run)
        _make(folder)
        events = [_event(0, _session_start(run))]
        for name, points in run.curves.items():
            events += [_event(step, _scalar(name, value)) for step, value in points]
        last = int(run.settings["steps"])
        events += [_event(last, _scalar(name, value)) for name, value in run.scores.items()]
        tags = "\n\n".join(f"{name}: {value}" for name, value in run.tags.items())
        events.append(_event(last, _text("tags", f"key: {run.key}\n\n{tags}")))
        events.append(_event(last, _session_end()))
        # One a folder, whoever writes it: without a time in its name, two that do replace it.
        write_atomically(folder / f"{_EVENTS}.0.{run.key}", _recorded(events), durable=False)

    def end(self, findings: Findings) -> None:
        found = [_scalar(name, value) for name, value in findings.values.items()]
        found.append(_text("findings", findings.sentence))
        said = repr((findings.sentence, findings.num_runs, sorted(findings.values.items())))
        digest = hashlib.sha256(said.encode()).hexdigest()[:32]
        others = list(self._study.glob(f"{_EVENTS}.*"))
        if any(path.name.endswith(digest) for path in others):
            return
        events = [_event(findings.num_runs, summary) for summary in found]
        # By their names TensorBoard reads them in order.
        name = f"{_EVENTS}.{time.time():.0f}.{digest}"
        write_atomically(self._study / name, _recorded(events), durable=False)
        for path in others:
            with suppress(OSError):
                path.unlink()

    def close(self) -> None:
        pass


def _make(folder: Path) -> None:
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        raise InputError(f"{folder} must be a folder; choose another place")


def _folder_name(run: TrackedRun) -> str:
    """Of a run, by width.

    >>> settings = {"widening_factor": 2.0, "learning_rate": 0.1, "batch_size": 8}
    >>> settings |= {"momentum": 0.0, "seed": 1}
    >>> _folder_name(TrackedRun(key="ab" * 16, name="", settings=settings, scores={}))
    'w=2/lr=0.1_B=8_m=0_seed=1_abababab'
    """
    w, rate, batch, momentum, seed = (run.settings[name] for name in _IN_THE_NAME)
    return f"w={w:g}/lr={rate:g}_B={batch}_m={momentum:g}_seed={seed}_{run.key[:8]}"


def _event(step: int, summary: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=time.time(), step=step, summary=summary)


def _scalar(tag: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def _text(tag: str, words: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    plugin = SummaryMetadata.PluginData(plugin_name="text")
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[words.encode()], tensor_shape=shape)
    described = SummaryMetadata(plugin_data=plugin)
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=tensor)])


def _session_start(run: TrackedRun) -> Any:
    """The settings, for the HPARAMS tab."""
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    info = SessionStartInfo(group_name=run.key, start_time_secs=time.time())
    for name, value in run.settings.items():
        kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
        setattr(info.hparams[name], kind, value)
    return _hparams(SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=info))


def _session_end() -> Any:
    from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
    from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    info = SessionEndInfo(status=STATUS_SUCCESS, end_time_secs=time.time())
    return _hparams(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=info))


def _hparams(tag: str, data: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.metadata import NULL_TENSOR, create_summary_metadata

    described = create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=NULL_TENSOR)])


def _recorded(events: Iterable[Any]) -> bytes:
    """The content of a file of events."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    content = io.BytesIO()
    writer = RecordWriter(content)
    for event in (Event(file_version=_VERSION), *events):
        writer.write(event.SerializeToString())
    return content.getvalue()
