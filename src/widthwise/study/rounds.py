"""The rounds of an adaptive search: what each asked for, kept with the study.

A round depends on nothing but the specification and the results of the rounds before it, so that
whoever goes on with an interrupted study asks for the same runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from widthwise.errors import InputError
from widthwise.runs.analyses import limit_of
from widthwise.runs.folder import Folder
from widthwise.runs.key import canonical, sha256
from widthwise.runs.sealed import BrokenSealError, seal, unseal
from widthwise.runs.tables import selected_on
from widthwise.search import Lattice, Observations, Proposal, Runs, SearchTarget, next_round
from widthwise.study.schedule import RunSetting
from widthwise.study.spec import SearchSpec

_FOLDER = "rounds"
_LARGEST = 2**63


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The rounds that have begun.

    Attributes:
        rounds: what each asked for.
        reason: why there will be no more; None while the search goes on.
    """

    rounds: tuple[tuple[Runs, ...], ...] = ()
    reason: str | None = None

    def after(self, proposal: Proposal) -> "Rounds":
        """With what a search proposed next."""
        if proposal.finished:
            return Rounds(rounds=self.rounds, reason=proposal.reason)
        return Rounds(rounds=(*self.rounds, proposal.runs))


class KeptRounds:
    """The rounds of one search, a file each, that a study keeps.

    Args:
        directory: of the study.
        name: of the search; another question has other rounds.
    """

    def __init__(self, directory: Path, name: str) -> None:
        root = directory / _FOLDER
        self._parent, self._folder = Folder(root), Folder(root / name, root=root)

    def read(self) -> Rounds:
        """Those that have begun, up to the first that is not there or damaged.

        Raises:
            InputError: if their folder is a link.
        """
        found = Rounds()
        while found.reason is None:
            try:
                content = self._folder.read(self._name(found))
                if content is None:
                    break
                found = _with(found, unseal(content))
            except InputError:
                raise  # the folder is a link
            except (BrokenSealError, OSError, KeyError, TypeError, ValueError):
                break
        return found

    def add(self, before: Rounds, after: Rounds) -> Rounds:
        """Keep the round after others, unless another process was faster; those that are kept.

        Raises:
            InputError: if the study cannot be written.
        """
        self._parent.make()
        self._folder.make()
        name = self._name(before)
        if after.reason is None:
            content = seal({"runs": [asdict(runs) for runs in after.rounds[-1]]})
        else:
            content = seal({"reason": after.reason})
        while not self._folder.create(name, content) and self.read() == before:
            self._folder.move(name, self._parent)  # what lies there is damaged
        return self.read()

    @staticmethod
    def _name(rounds: Rounds) -> str:
        return f"{len(rounds.rounds) + 1:04d}.json"


def _with(rounds: Rounds, fields: Mapping[str, Any]) -> Rounds:
    if "reason" in fields:
        return Rounds(rounds=rounds.rounds, reason=str(fields["reason"]))
    asked = tuple(Runs(**{**runs, "seeds": tuple(runs["seeds"])}) for runs in fields["runs"])
    numbers = [n for runs in asked for n in (runs.width, runs.scale_index, *runs.seeds)]
    if not numbers or not all(type(n) is int and 0 <= n < _LARGEST for n in numbers):
        raise BrokenSealError("it asks for no runs")
    return Rounds(rounds=(*rounds.rounds, asked))


class Searched:
    """Lattices of settings, one a width, and the search over them."""

    def __init__(
        self,
        spec: SearchSpec,
        settings: Sequence[RunSetting],
        *,
        noise_scale: Mapping[RunSetting, float],
        cost: Mapping[RunSetting, float],
        num_train: int,
        ghost_batch_size: int | None,
        seed: int,
    ) -> None:
        """
        Args:
            spec: when to stop.
            settings: every setting that may be run.
            noise_scale: ḡ of each.
            cost: of one run of each, in one unit.
            num_train, ghost_batch_size: to recognize settings that nothing lies beyond.
            seed: of the bootstrap behind the optima.
        """
        self._seed, self._runs_at_once = seed, spec.runs_at_once
        self._first = spec.first_seed
        self._target = SearchTarget(
            precision=spec.precision,
            exponent_precision=spec.exponent_precision,
            max_runs=spec.max_runs,
            max_seeds=spec.max_seeds,
            seeds_at_once=spec.seeds_at_once,
        )
        widths = sorted({setting.widening_factor for setting in settings})
        self._settings = [
            sorted(
                (s for s in settings if s.widening_factor == width), key=lambda s: noise_scale[s]
            )
            for width in widths
        ]
        self._lattices = [
            Lattice(
                widening_factor=width,
                noise_scale=tuple(noise_scale[s] for s in own),
                cost=tuple(cost[s] for s in own),
                limits=(
                    limit_of(own[0].batch_size, num_train, ghost_batch_size),
                    limit_of(own[-1].batch_size, num_train, ghost_batch_size),
                ),
                effective_rate=tuple(s.learning_rate / (1.0 - s.momentum) for s in own),
            )
            for width, own in zip(widths, self._settings, strict=True)
        ]

    def name(self, group: str) -> str:
        """Of this search: it follows from everything that decides what is asked next.

        Args:
            group: hash of what the runs share.
        """
        settings = [[asdict(setting) for setting in own] for own in self._settings]
        asked = [group, settings, asdict(self._target), self._runs_at_once, self._seed]
        asked += [self._first] if self._first else []  # before there was a choice, it was 0
        return sha256(canonical(asked))[:16]

    def runs(self, rounds: Rounds) -> dict[RunSetting, set[int]]:
        """RunSetting → seeds that the rounds have asked for."""
        asked: dict[RunSetting, set[int]] = {}
        for runs in (runs for asked_for in rounds.rounds for runs in asked_for):
            try:
                setting = self._settings[runs.width][runs.scale_index]
            except IndexError:
                raise InputError(
                    f"a round asks for setting {runs.scale_index} of width {runs.width}, which "
                    f"the search does not have; remove the study's folder {_FOLDER!r}"
                ) from None
            asked.setdefault(setting, set()).update(self._first + seed for seed in runs.seeds)
        return asked

    def following(self, rounds: Rounds, results: pl.DataFrame) -> Proposal:
        """The round after those that have begun, all of whose runs must have landed."""
        asked = [runs for earlier in rounds.rounds for runs in earlier]
        landed = [
            Observations.none(lattice).with_runs(
                [runs for runs in asked if runs.width == i], self._observed(i, results)
            )
            for i, lattice in enumerate(self._lattices)
        ]
        return next_round(
            landed,
            self._lattices,
            self._target,
            workers=self._runs_at_once,
            seed=self._seed,
            number=len(rounds.rounds) + 1,
        )

    def _observed(self, width: int, results: pl.DataFrame) -> Observations:
        index = {
            (s.learning_rate, s.batch_size, s.momentum): i
            for i, s in enumerate(self._settings[width])
        }
        rows = results.filter(
            pl.col("widening_factor") == self._lattices[width].widening_factor,
            pl.col("seed") >= self._first,
        )
        num_seeds = 1 + max(rows["seed"].to_list(), default=self._first - 1) - self._first
        scores = np.full((len(index), num_seeds), np.nan)
        ran = np.zeros(scores.shape, dtype=bool)
        score = f"{selected_on(results)}_accuracy"
        columns = ["learning_rate", "batch_size", "momentum", "seed", score]
        for rate, batch, momentum, seed, score in rows.select(columns).iter_rows():
            place = index[rate, batch, momentum], seed - self._first
            scores[place] = np.nan if score is None else score
            ran[place] = True
        return Observations(scores=scores, ran=ran)
