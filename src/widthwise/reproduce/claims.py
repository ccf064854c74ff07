"""The claims of the study, the families on which each is tried, and what that takes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from widthwise.errors import InputError
from widthwise.reproduce.judging import (
    Evidence,
    Judgement,
    judge_bounded,
    judge_ceiling,
    judge_collapse,
    judge_growing,
    judge_not_proportional,
    judge_proportional,
    judge_resistance,
)
from widthwise.reproduce.presets import PresetName

Judge = Callable[[Evidence], Judgement]

ALL_SIZES = frozenset({"minutes", "hours", "paper"})
LARGER = frozenset({"hours", "paper"})


@dataclass(frozen=True, kw_only=True)
class Case:
    """A claim on one family.

    Attributes:
        preset: the study, or the family whose largest stable learning rates are measured.
        sizes: at which it is tried unless asked for by name.
    """

    preset: PresetName
    sizes: frozenset[str] = ALL_SIZES


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim.

    Attributes:
        key: by which the command line knows it.
        words: what is claimed, in a sentence.
        judge: evidence → judgement.
        cases: where it is tried.
        needs_study, needs_rates: what each case takes.
        figures: of a study's report, those that show it.
    """

    key: str
    words: str
    judge: Judge
    cases: tuple[Case, ...]
    needs_study: bool = True
    needs_rates: bool = False
    figures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One row of the table of findings: a claim on a family."""

    claim: Claim
    preset: PresetName

    @property
    def name(self) -> str:
        """As the command line knows it: "law:mlp-1-ntk"."""
        return f"{self.claim.key}:{self.preset}"


def _mlps(purpose: str = "law") -> tuple[Case, ...]:
    return tuple(
        Case(
            preset=PresetName(
                network=network,
                parameterization=parameterization,
                purpose="collapse" if purpose == "collapse" else "law",
            ),
            sizes=sizes,
        )
        for network, sizes in (("mlp-1", ALL_SIZES), ("mlp-2", LARGER), ("mlp-3", LARGER))
        for parameterization in ("standard", "ntk")
    )


def _both(network: str, sizes: frozenset[str] = ALL_SIZES) -> tuple[Case, ...]:
    return (
        Case(preset=PresetName(network=network), sizes=sizes),
        Case(preset=PresetName(network=network, parameterization="ntk"), sizes=sizes),
    )


_NETWORKS = (*_mlps(), *_both("cnn"), *_both("wide-resnet"))

CLAIMS: Mapping[str, Claim] = MappingProxyType(
    {
        claim.key: claim
        for claim in (
            Claim(
                key="law",
                words="Without batch norm the best normalized noise scale is proportional to width",
                judge=judge_proportional,
                cases=_NETWORKS,
                figures=("accuracy-vs-noise-scale", "optimum-vs-width"),
            ),
            Claim(
                key="batch-norm-resnet",
                words="With batch norm, ResNets show a similar trend",
                judge=judge_growing,
                cases=(Case(preset=PresetName(network="wide-resnet", normalization="batch")),),
                figures=("accuracy-vs-noise-scale", "optimum-vs-width"),
            ),
            Claim(
                key="batch-norm-convnet",
                words="With batch norm, ConvNets do not follow the proportional law",
                judge=judge_not_proportional,
                cases=(Case(preset=PresetName(network="cnn", normalization="batch")),),
                figures=("accuracy-vs-noise-scale", "optimum-vs-width"),
            ),
            Claim(
                key="collapse",
                words="Only the normalized noise scale matters while the learning rate is small",
                judge=judge_collapse,
                cases=_mlps("collapse"),
                figures=("collapse",),
            ),
            Claim(
                key="stable-rate",
                words="The largest stable learning rate is bounded: it does not grow with width",
                judge=judge_bounded,
                cases=(
                    *_mlps(),
                    *_both("cnn", LARGER),
                    *_both("wide-resnet", LARGER),
                ),
                needs_study=False,
                needs_rates=True,
            ),
            Claim(
                key="batch-size",
                words="The best batch size is at most const/w",
                judge=judge_ceiling,
                cases=(*_mlps(), *_both("cnn", LARGER), *_both("wide-resnet", LARGER)),
                needs_rates=True,
            ),
            Claim(
                key="resistance",
                words="Wider networks reach a higher best accuracy, at higher noise",
                judge=judge_resistance,
                cases=_NETWORKS,
                figures=("noise-resistance",),
            ),
        )
    }
)


def trials(names: Sequence[str], size: str) -> list[Trial]:
    """What to try: claims, or single cases of them ("law:cnn-ntk"), in the order of the table.

    Args:
        names: none takes every claim on the families that are tried at this size.
        size: a key of :data:`widthwise.reproduce.sizes.SIZES`.

    Raises:
        InputError: if a name is not known; it suggests the nearest.
    """
    everything = [
        (Trial(claim=claim, preset=case.preset), size in case.sizes)
        for claim in CLAIMS.values()
        for case in claim.cases
    ]
    wanted = {name for asked in (names or list(CLAIMS)) for name in _named(asked, everything)}
    return [trial for trial, _ in everything if trial.name in wanted]


def _named(asked: str, everything: Iterable[tuple[Trial, bool]]) -> list[str]:
    usual = {trial.name: at_this_size for trial, at_this_size in everything}
    if asked in usual:
        return [asked]
    if asked in CLAIMS:
        return [name for name, at_size in usual.items() if at_size and name.startswith(f"{asked}:")]
    near = get_close_matches(asked, [*CLAIMS, *usual], n=1)
    raise InputError(
        f"unknown claim {asked!r}"
        + (f", did you mean {near[0]!r}?" if near else "")
        + f"; claims are {', '.join(CLAIMS)}, or one family of a claim as in law:mlp-1-ntk; "
        "`widthwise reproduce --list` shows them all"
    )
