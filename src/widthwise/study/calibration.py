"""The law measured on the user's own networks and data, and the plan that follows from it.

A small study round the tuned setting at a few small widths; its law, with its interval, takes the
place of the paper's exponent in the plan for the width that is too dear to tune.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from widthwise.adviser import (
    AdviceRefusedError,
    Keep,
    Network,
    Plan,
    Setting,
    Stability,
    Training,
    widen,
)
from widthwise.adviser.ceiling import StableLaw, StableRate
from widthwise.adviser.commands import calibrate_command
from widthwise.adviser.given import with_former
from widthwise.analysis import Law, Optimum
from widthwise.data import load
from widthwise.deprecated import old_name
from widthwise.errors import FitError, InputError
from widthwise.families import WidthFamily
from widthwise.inspection import compare
from widthwise.study import Study, StudySpec
from widthwise.study.context import load_context
from widthwise.study.grid_spec import GridSpec
from widthwise.study.progress import make_reporter
from widthwise.study.reading import read_fields, with_whole_paths
from widthwise.study.spec import TrainingSpec
from widthwise.theory.noise import learning_rate_for, normalized_noise_scale

# How far the grid of noise scales reaches past the tuned one, and past w times it, and its steps.
_REACH = 4.0
_PER_OCTAVE = 2
DEFAULT_WIDTHS = (1.0, 2.0, 4.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What a calibration found.

    Attributes:
        plan: hyper-parameters for the target, with the law's uncertainty in them.
        law: exponent of the best normalized noise scale over widths, measured; None if the study
            does not bound it on both sides. Then the plan follows the paper's.
        optima: widening factor → optimum of the normalized noise scale.
        study: the study behind it, with its report.
        notes: why there is no law, and what the study says about the setting given as tuned.
    """

    plan: Plan
    law: Law | None
    optima: Mapping[float, Optimum]
    study: Study
    notes: tuple[str, ...]


def calibrate(
    directory: str | Path,
    spec: Mapping[str, Any] | str | Path,
    tuned: Setting,
    *,
    widening_factor: float,
    widths: Sequence[float] = DEFAULT_WIDTHS,
    seeds: int = 5,
    overrides: Iterable[str] = (),
    workers: int | None = None,
    progress: bool = True,
    keep: Keep = "stability",
    network: Network | None = None,
    stability: Stability | StableRate | StableLaw | float | None = None,
    training: Training | None = None,
    yes: bool = False,
    **former: Any,
) -> Calibration:
    """Measure how the best noise scale moves with width, and plan for a wider network.

    Interrupted, the same call goes on where it was.

    Args:
        directory: where the study is kept.
        spec: tables ``family``, ``data`` and ``training`` of a :class:`StudySpec`, as a dict or a
            TOML or JSON file. Its grid is made here. ``training`` says how long the tuned setting
            is trained; every run gets the same physical time τ = ε·steps/(1−m).
        tuned: the setting found best at widening factor 1.
        widening_factor: of the network to plan for.
        widths: widening factors to measure at, at least two.
        seeds: runs a setting; at least 3, better 5 or more.
        overrides: "key=value", as ``--set``.
        workers, progress: as for :meth:`Study.run`.
        keep, network, stability, training: as for :func:`widthwise.widen`; what is left out is
            as the study has it.
        yes: as for :meth:`Study.create`.
        former: single facts, as for :func:`widthwise.widen`.

    Raises:
        InputError: if something that was given is wrong.
        StudyError: if a run failed.
    """
    given = with_former(former, network=network, stability=stability, training=training)
    network, stability, training = given["network"], given["stability"], given["training"]
    fields = calibration_fields(spec, tuned, widths=widths, seeds=seeds, overrides=overrides)
    parsed = StudySpec.parse(fields)
    if isinstance(spec, str | Path):
        network = replace(network or Network(), build=str(spec))

    def plan(law: Law | None, parameterization: str, known: Network, num_train: int | None) -> Plan:
        return widen(
            learning_rate=tuned.learning_rate,
            batch_size=tuned.batch_size,
            momentum=tuned.momentum,
            widening_factor=widening_factor,
            parameterization=parameterization,
            network=known,
            stability=stability,
            training=_training(training or Training(), parsed.training, tuned, num_train),
            law=law,
            keep=keep,
        )

    # What is wrong with the question is said before hours are spent on it, and what no measurement
    # will settle. What the rule alone refuses, a law may allow.
    known, num_train = network or Network(), load(parsed.data).num_train
    try:
        early = plan(None, parsed.family.parameterization, known, num_train).findings
    except AdviceRefusedError as refusal:
        if not all(finding.settled_by_law for finding in refusal.findings):
            raise
        early = ()
    for finding in early:
        if not finding.settled_by_law and finding.measure is None:
            make_reporter(progress).note(f"Before it trains: {finding.text}")
    study = Study.create(directory, fields, yes=yes)
    study.run(workers, progress=progress)
    law, problem = _bounded_law(study)
    context = load_context(study.directory)
    parameterization, known = _networks(network or Network(), context.family, widths)
    optima = study.optima()
    found = plan(law, parameterization, known, context.dataset.num_train)
    # The same again would say the same; there, more seeds train only what is missing.
    if law is None or found.settle == calibrate_command(tuned, widening_factor):
        again = calibrate_command(
            tuned,
            widening_factor,
            network.build if network else None,
            widths=None if tuple(widths) == DEFAULT_WIDTHS else widths,
            seeds=2 * seeds,
            output=None if _is_default(directory, spec) else str(directory),
        )
        found = replace(found, settle=again)
    return Calibration(
        plan=found,
        law=law,
        optima=optima,
        study=study,
        notes=(
            *problem,
            *_notes(_noise_scale(tuned, context.family), optima),
            *_short_runs(study, context.dataset.num_train),
        ),
    )


def calibration_fields(
    spec: Mapping[str, Any] | str | Path,
    tuned: Setting,
    *,
    widths: Sequence[float] = DEFAULT_WIDTHS,
    seeds: int = 5,
    overrides: Iterable[str] = (),
) -> dict[str, Any]:
    """The fields of the study that calibrates: ``spec`` with a grid round the tuned setting.

    At widening factor w the noise scales reach from a quarter of the tuned ḡ to 4·w² times it (to
    4 times it for w < 1), so that the optimum lies inside whether it stays or, as that of small
    networks may, moves faster than w. The learning rate is the tuned one, and more only where not
    even B = 1 has the noise with it: then to 4·w times the tuned ḡ, as in the paper's law.

    Raises:
        InputError: if a width or the number of seeds is out of range, or the rest of ``spec`` is
            wrong.
    """
    chosen = sorted({float(width) for width in widths})
    if len(chosen) < 2 or chosen[0] <= 0:
        raise InputError(
            f"widths must name at least 2 different positive widening factors, got {chosen}; "
            "a law needs the optima of two",
            fields=("widths",),
        )
    if seeds < 2:
        raise InputError(
            f"seeds must be at least 2, got {seeds}; an interval needs their scatter",
            fields=("seeds",),
        )
    fields = read_fields(spec)
    if "grid" in fields:
        raise InputError(
            "a calibration makes its grid itself, round the tuned setting, but the specification "
            "has one; leave [grid] out, or run it as a study"
        )
    any_grid = {"widening_factor": 1, "learning_rate": 1.0, "batch_size": 1}
    checked = StudySpec.parse({**with_whole_paths(fields, spec), "grid": any_grid}, overrides)
    named = checked.fields()
    if "data" not in checked.model_fields_set:
        del named["data"]  # the study says then on which data it trains
    dataset = load(checked.data)
    Training(num_train=dataset.num_train).batch_limit(tuned.batch_size)
    family = checked.family.family(dataset.input_shape, dataset.num_classes)
    training = checked.training.model_dump(mode="json", exclude_none=True)
    return {
        "title": f"Calibration round ε = {tuned.learning_rate:g}, B = {tuned.batch_size}",
        **named,
        "grid": _grids(tuned, family, chosen, seeds),
        "training": _equal_time(training, tuned, dataset.num_train),
    }


def _networks(given: Network, family: WidthFamily, widths: Sequence[float]) -> tuple[str, Network]:
    """The parameterization, and what was given of the networks, with what it leaves out read off
    the two smallest ones."""
    given = replace(given, init_variance=family.init_variance(1.0))
    parameterization = family.parameterization
    try:
        first, second = sorted(widths)[:2]
        found = compare(family.build(first), family.build(second))
    except InputError:  # weights that say nothing, such as zeros: what was given stands
        return parameterization, given
    if found.parameterization == "default" and parameterization == "standard":
        parameterization = "default"  # which it is, of those whose variance is ∝ 1/w
    return parameterization, replace(
        given,
        normalization=given.normalization or found.normalization,
        convolutional=found.convolutional if given.convolutional is None else given.convolutional,
        residual=found.residual if given.residual is None else given.residual,
    )


def _training(
    given: Training, trained: TrainingSpec, tuned: Setting, num_train: int | None
) -> Training:
    """How the tuned setting trains: as was given, and for the rest as the study does."""
    return replace(
        given,
        epochs=_epochs(trained, tuned, num_train) if given.epochs is None else given.epochs,
        num_train=given.num_train or num_train,
        weight_decay=given.weight_decay or trained.weight_decay,
        schedule=trained.schedule if given.schedule == "constant" else given.schedule,
    )


def _epochs(trained: TrainingSpec, tuned: Setting, num_train: int | None) -> float | None:
    """Passes through the data that the tuned setting makes; None if that is not known yet."""
    if trained.epochs is not None:
        return float(trained.epochs)
    if num_train is None:
        return None
    if trained.steps is not None:
        steps = float(trained.steps)
    else:
        assert trained.physical_time is not None  # one of the three is given
        steps = trained.physical_time * (1.0 - tuned.momentum) / tuned.learning_rate
    return steps * tuned.batch_size / num_train


def default_directory(spec: str | Path) -> Path:
    """Where the command keeps the study of a specification unless it is told."""
    return Path("studies") / f"{Path(spec).stem}-law"


def _is_default(directory: str | Path, spec: Mapping[str, Any] | str | Path) -> bool:
    return isinstance(spec, str | Path) and Path(directory) == default_directory(spec)


def _bounded_law(study: Study) -> tuple[Law | None, tuple[str, ...]]:
    """The law, if both ends of its exponent are known; else why not."""
    try:
        law = study.law()
    except FitError as error:
        why = str(error)
    else:
        # A plan by optima that divergence cuts off might aim at the edge of divergence.
        if all(math.isfinite(end) for end in law.interval) and not law.num_cut_off:
            return law, ()
        why = law.sentence().rstrip(".")
    return None, (
        f"this study gives no law to plan by ({why}); the plan follows the paper's. More seeds, or "
        "widths at which the best noise scale is not the last stable one, may decide it",
    )


def _noise_scale(tuned: Setting, family: WidthFamily) -> float:
    return float(
        normalized_noise_scale(
            tuned.learning_rate,
            tuned.batch_size,
            tuned.momentum,
            init_variance=family.init_variance(1.0),
        )
    )


def _grids(
    tuned: Setting, family: WidthFamily, widths: Sequence[float], seeds: int
) -> list[dict[str, Any]]:
    """Noise scales round the tuned one: by the batch size at the tuned learning rate, which is
    known to be stable, and beyond that by the learning rate at B = 1."""
    tuned_scale = _noise_scale(tuned, family)
    grids: list[dict[str, Any]] = []
    for width in widths:
        common = {"widening_factor": width, "momentum": tuned.momentum, "seeds": seeds}
        wider = max(1.0, width)
        octaves = math.log2((_REACH * wider) ** 2)
        count = 1 + math.ceil(octaves * _PER_OCTAVE - 1e-9)
        scales = np.geomspace(tuned_scale / _REACH, tuned_scale * _REACH * wider**2, count)
        needed = learning_rate_for(
            scales, 1, tuned.momentum, init_variance=family.init_variance(width)
        )
        by_batch = needed <= tuned.learning_rate * (1.0 + 1e-9)
        if np.any(by_batch):
            most = tuned.learning_rate / GridSpec.model_fields["stability_margin"].default
            grids.append(
                {
                    **common,
                    "normalized_noise_scale": scales[by_batch].tolist(),
                    "max_stable_learning_rate": most,
                }
            )
        by_rate = ~by_batch & (scales <= tuned_scale * _REACH * wider * (1.0 + 1e-9))
        if np.any(by_rate):
            rates = needed[by_rate].tolist()
            grids.append({**common, "learning_rate": rates, "batch_size": 1})
    return grids


def _equal_time(training: dict[str, Any], tuned: Setting, num_train: int) -> dict[str, Any]:
    """The training options with the tuned setting's physical time in place of its steps.

    With a schedule time does not say how far a run gets: steps or epochs stay.
    """
    if "physical_time" in training or not TrainingSpec(**training).recipe.constant_rate:
        return training
    steps = training.pop("steps", None)
    if steps is None:
        steps = training.pop("epochs") * (num_train // tuned.batch_size)
    time = tuned.learning_rate * steps / (1.0 - tuned.momentum)
    return {**training, "physical_time": time}


def _short_runs(study: Study, num_train: int) -> tuple[str, ...]:
    """Whether runs of equal physical time ended before they had seen all examples."""
    runs = study.results().select("batch_size", passes=pl.col("batch_size") * pl.col("steps"))
    passes, batch_size = min(
        (passes / num_train, batch_size) for batch_size, passes in runs.iter_rows()
    )
    if passes >= 1.0:
        return ()
    return (
        f"all runs get the physical time ε·steps/(1 − m) of the tuned setting, in which those at "
        f"batch size {batch_size} see {passes:.2g} of the examples once; the rule is about late "
        "times: train longer",
    )


def _notes(scale: float, optima: Mapping[float, Optimum]) -> tuple[str, ...]:
    """Whether the study finds a best setting at the base, and whether it is the tuned one."""
    if 1.0 not in optima:
        return ()
    if optima[1.0].censoring != "none":
        return (
            "the best noise scale at widening factor 1 is only bounded, so how far it moves from "
            "there is uncertain: run more seeds, or tune a wider base",
        )
    low, high = optima[1.0].interval
    if low <= scale <= high:
        return ()
    side = "above" if scale > high else "below"
    return (
        f"the setting given as tuned has ḡ = {scale:.3g}, {side} the best one that this study "
        f"finds at widening factor 1 ({low:.3g} to {high:.3g} at 95 %): tune it again, or start "
        "from the study's optimum",
    )


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_name(__name__, name)
