"""What makes a run the run it is, and the key that follows from it (docs/runs.md)."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from widthwise.sgd.recipe import Recipe

# Raised when the meaning of a result changes: draws, evaluation, semantics. Never for speed.
ARITHMETIC = 3

_KEY_DIGITS = 32


@dataclass(frozen=True, kw_only=True, order=True)
class Run:
    """The hyper-parameters of one run; the rest it shares with its group.

    Attributes:
        widening_factor: w.
        learning_rate: ε, the peak of a schedule.
        batch_size: B.
        momentum: m.
        steps: number of updates.
        seed: of the initial weights and the batches.
    """

    widening_factor: float
    learning_rate: float
    batch_size: int
    momentum: float
    steps: int
    seed: int


# Its fields are columns of every table of runs.
RUN_FIELDS = tuple(f.name for f in dataclasses.fields(Run))


@dataclass(frozen=True, kw_only=True)
class Group:
    """What runs share that may differ in their hyper-parameters.

    Attributes:
        family: plain values that tell its networks from every other family.
        data: fingerprint of the data set.
        recipe: plain values of the training options, those at their defaults left out.
        sampling: "epochs" or "replacement".
        evaluations: after the one at initialization.
        arithmetic: version in which the results have their meaning.
        hash: SHA-256 of all that.
    """

    family: Mapping[str, Any]
    data: str
    recipe: Mapping[str, Any]
    sampling: str
    evaluations: int
    arithmetic: int = ARITHMETIC
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash", sha256(canonical(self.fields())))

    def __hash__(self) -> int:
        return hash(self.hash)

    def fields(self) -> dict[str, Any]:
        """Plain values, all but the hash."""
        return {
            "arithmetic": self.arithmetic,
            "family": dict(self.family),
            "data": self.data,
            "recipe": dict(self.recipe),
            "sampling": self.sampling,
            "evaluations": self.evaluations,
        }

    def key(self, run: Run) -> str:
        """The key of a run of this group: 32 hexadecimal digits."""
        return sha256(
            canonical(
                {
                    "group": self.hash,
                    "widening_factor": float(run.widening_factor),
                    "learning_rate": float(run.learning_rate),
                    "batch_size": int(run.batch_size),
                    "momentum": float(run.momentum),
                    "steps": int(run.steps),
                    "seed": int(run.seed),
                }
            )
        )[:_KEY_DIGITS]


def recipe_fields(recipe: Recipe) -> dict[str, Any]:
    """The training options that are not at their defaults, as plain values.

    >>> recipe_fields(Recipe(weight_decay=0.1)), recipe_fields(Recipe())
    ({'weight_decay': 0.1}, {})
    """
    fields = dataclasses.asdict(recipe)
    changed = {k: v for k, v in fields.items() if v != getattr(Recipe, k)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in changed.items()}


def recipe_of(fields: Mapping[str, Any]) -> Recipe:
    """The recipe of which :func:`recipe_fields` gave these."""
    given: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Recipe(**given)


def canonical(value: Any) -> str:
    """JSON that equal values share: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sha256(text: str) -> str:
    """Hexadecimal, of the text in UTF-8.

    >>> sha256("")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def is_key(name: str) -> bool:
    """Whether a name could be a key.

    >>> is_key("0" * 32), is_key("0" * 31), is_key("G" * 32)
    (True, False, False)
    """
    return len(name) == _KEY_DIGITS and not name.strip("0123456789abcdef")
