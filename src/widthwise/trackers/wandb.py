"""Weights & Biases, offline: a folder a run, to look at with `wandb leet` or to send with
`wandb sync`.

A file in `wandb/widthwise/` says that a run is logged whole, also after its folder was sent and
cleared away. A run's id follows from its key and its study: sent twice it is one run there.
"""

import hashlib
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from widthwise.files import explained, whole_path, write_atomically
from widthwise.trackers.base import Findings, TrackedRun, TrackedStudy

_OFFLINE, _DISABLED = "offline", "disabled"
_PROJECT = "widthwise"
_ID_DIGITS = 32
# Nothing of this machine, of the user's code or of the terminal is logged, and nothing printed.
_SETTINGS = {
    "console": "off",
    "silent": True,
    "disable_code": True,
    "disable_git": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


def open_tracker(place: str | None, folder: Path) -> "WeightsAndBiases":
    """
    Args:
        place: a folder, in which W&B makes its own, ``wandb``; None is what ``WANDB_DIR`` says, or
            else the study's.
        folder: of the study.
    """
    said = place or os.environ.get("WANDB_DIR")
    return WeightsAndBiases(folder if said is None else whole_path(said))


class WeightsAndBiases:
    """See :class:`widthwise.trackers.base.Tracker`.

    Args:
        place: the folder in which ``wandb`` is.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._mode: Any = os.environ.get("WANDB_MODE", _OFFLINE)

    @property
    def name(self) -> str:
        return f"wandb in {self._place / 'wandb'} ({self._mode})"

    def start(self, study: TrackedStudy) -> Collection[str]:
        self._study = study
        self._logged = self._place / "wandb" / "widthwise" / study.id
        with explained(self._logged):
            self._logged.mkdir(parents=True, exist_ok=True)
            return frozenset(path.name for path in self._logged.iterdir())

    def run(self, run: TrackedRun) -> None:
        steps: dict[int, dict[str, float]] = {}
        for name, points in run.curves.items():
            for step, value in points:
                steps.setdefault(step, {})[name] = value
        config = {**run.settings, **run.tags, "key": run.key, "study": self._study.id}
        self._log(run.key, run.name, config, steps, run.scores, tags=[run.tags["status"]])
        if self._mode != _DISABLED:
            # Not empty: W&B does not say that the disk is full, and this does.
            write_atomically(self._logged / run.key, f"{run.name}\n".encode(), durable=False)

    def end(self, findings: Findings) -> None:
        said = f"{findings.sentence}\n{findings.num_runs}\n{sorted(findings.values.items())}\n"
        mark = self._logged.with_name(f"{self._study.id}.findings")
        if mark.is_file() and mark.read_text(encoding="utf-8") == said:
            return
        config = {"study": self._study.id, "title": self._study.title}
        summary = {
            "findings": findings.sentence,
            "num_runs": findings.num_runs,
            **findings.values,
        }
        self._log("findings", "findings", config, {}, summary, tags=["findings"])
        if self._mode != _DISABLED:
            write_atomically(mark, said.encode(), durable=False)

    def close(self) -> None:
        pass

    def _log(
        self,
        key: str,
        name: str,
        config: Mapping[str, Any],
        steps: Mapping[int, Mapping[str, float]],
        summary: Mapping[str, Any],
        *,
        tags: list[str],
    ) -> None:
        import wandb

        identity = hashlib.sha256(f"{self._study.id}/{key}".encode()).hexdigest()[:_ID_DIGITS]
        for unfinished in self._logged.parents[1].glob(f"offline-run-*-{identity}"):
            shutil.rmtree(unfinished)
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            group=self._study.id,
            id=identity,
            name=name,
            config=dict(config),
            tags=tags,
            dir=str(self._place),
            mode=self._mode,
            resume="allow" if self._mode == "online" else None,
            reinit="create_new",
            settings=wandb.Settings(**_SETTINGS),
        )
        failed = True
        try:
            for step in sorted(steps):
                run.log(dict(steps[step]), step=step)
            run.summary.update(dict(summary))
            failed = False
        finally:
            run.finish(exit_code=int(failed))
