"""The commands that measure what theory does not give, as a user would type them."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from widthwise.adviser.solving import Setting


def probe_command(
    build: str | None, base: Setting, widening_factor: float, batch_size: int | None = None
) -> str:
    """Measures the largest stable learning rate at base and target, and its exponent.

    >>> probe_command("nets.py:mlp", Setting(learning_rate=0.1, batch_size=32), 4)
    'widthwise probe nets.py:mlp --spec SPEC.toml --widths 1,4 --batch-size 32'

    Args:
        build: "module:function" of the network, or the file of a specification; None for one to be
            written, which the first needs as well: it says which data, and how they are trained on.
        base: whose momentum, and whose batch size unless another is given, are used.
        widening_factor: of the target.
        batch_size: at which to measure; smaller batches bear smaller learning rates.
    """
    momentum = f" --momentum {_typed(base.momentum)}" if base.momentum else ""
    network = shlex.quote(build) if build is not None else "SPEC.toml"
    if build is not None and Path(build).suffix not in (".toml", ".json"):
        network += " --spec SPEC.toml"
    widths = "1" if widening_factor == 1.0 else f"1,{_typed(widening_factor)}"
    batch = base.batch_size if batch_size is None else batch_size
    return f"widthwise probe {network} --widths {widths} --batch-size {batch}{momentum}"


def plan_with_command(max_stable: float, widening_factor: float, batch_size: int) -> str:
    """A plan that knows the largest stable learning rate; the dots stand for what was tuned.

    >>> plan_with_command(25.398, 4, 64)
    'widthwise widen … --max-stable-learning-rate 25.4 --max-stable-at 4 --max-stable-batch-size 64'

    Args:
        max_stable: largest stable learning rate.
        widening_factor, batch_size: at which it was measured.
    """
    return (
        f"widthwise widen … --max-stable-learning-rate {max_stable:.4g} --max-stable-at "
        f"{_typed(widening_factor)} --max-stable-batch-size {batch_size}"
    )


def analyze_command() -> str:
    """Whether the best learning rate moves with width in runs that the user made."""
    return "widthwise analyze runs.csv --width width --x lr --score val_acc"


def extend_command(study: str, overrides: Sequence[str]) -> str:
    """Runs a study that is there with other keys; another training uses no run of it, which is to
    be said.

    >>> extend_command("studies/mine", ["grid.seeds=24"])
    'widthwise run studies/mine --set grid.seeds=24'
    >>> extend_command("studies/mine", ["training.epochs=60"])
    'widthwise run studies/mine --set training.epochs=60 --yes'
    """
    sets = " ".join(f"--set {shlex.quote(override)}" for override in overrides)
    anew = " --yes" if any(override.startswith("training.") for override in overrides) else ""
    return f"widthwise run {shlex.quote(study)} {sets}{anew}"


def calibrate_command(
    base: Setting,
    widening_factor: float,
    spec: str | None = None,
    *,
    widths: Sequence[float] | None = None,
    seeds: int | None = None,
    output: str | None = None,
) -> str:
    """Measures how the best noise changes with width on the user's own networks and data.

    >>> calibrate_command(Setting(learning_rate=0.1, batch_size=32), 4)
    'widthwise calibrate SPEC.toml --learning-rate 0.1 --batch-size 32 --factor 4'
    >>> calibrate_command(Setting(learning_rate=1, batch_size=4), 2, "x.toml", widths=[0.5, 1])
    'widthwise calibrate x.toml --learning-rate 1 --batch-size 4 --factor 2 --widths 0.5,1'

    Args:
        base, widening_factor: as for :func:`probe_command`.
        spec: file of the specification; None for one to be written.
        widths, seeds, output: what to measure at, runs a setting, and where they land; None takes
            the command's defaults.
    """
    momentum = f" --momentum {_typed(base.momentum)}" if base.momentum else ""
    network = "SPEC.toml" if spec is None else shlex.quote(spec)
    more = "" if widths is None else f" --widths {','.join(map(_typed, widths))}"
    more += "" if seeds is None else f" --seeds {seeds}"
    more += "" if output is None else f" --output {shlex.quote(output)}"
    return (
        f"widthwise calibrate {network} --learning-rate {_typed(base.learning_rate)} "
        f"--batch-size {base.batch_size}{momentum} --factor {_typed(widening_factor)}{more}"
    )


def _typed(value: float) -> str:
    """With all digits that were typed: a momentum of 0.9999999 is not 1.

    >>> _typed(0.9999999), _typed(4.0)
    ('0.9999999', '4')
    """
    return f"{value:.15g}"
