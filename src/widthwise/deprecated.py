"""Old names: they work for one release, with a warning, and go with 0.3.

A module that moved is a row of :data:`MODULES`. Whoever imports the old path gets the module that
is at the new one, itself and not a copy, and a ``DeprecationWarning`` that names it, once a path.

A name that moved out of a module that stays is a row of :data:`NAMES`; its old module ends with

    if not TYPE_CHECKING:

        def __getattr__(name: str) -> Any:
            return old_name(__name__, name)

Nothing is imported before it is asked for.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

_PACKAGE = "widthwise."
LAST = "0.3"

# Old path → new path, both within the package. What lies in a package goes with it, unless it has
# a row of its own.
MODULES = {
    "adviser.conditions": "adviser.cautions",
    "adviser.exports": "adviser.plan",
    "adviser.facts": "adviser.given",
    "adviser.line": "adviser.solving",
    "adviser.printout": "adviser.explanation",
    "adviser.reason": "adviser.content",
    "adviser.rules": "theory.parameterization",
    "analysis.words": "text",
    "augmentation": "sgd.augmentation",
    "batches": "sgd.batches",
    "building": "training.networks",
    "calibration": "study.calibration",
    "cli.arguments": "cli.command",
    "conversion.layers": "families.layers",
    "data.digits": "data.bundled_set",
    "data.loading": "data.registry",
    "data.raw": "data.arrays",
    "data.spec": "data.registry",
    "evaluation": "training.evaluation",
    "execution.process": "execution.worker",
    "feeding": "sgd.feeding",
    "gradient_noise": "probes.gradient_noise",
    "gradients": "probes.gradients",
    "inspection.alone": "inspection.rows",
    "inspection.text": "text",
    "losses": "sgd.losses",
    "noise": "theory.noise",
    "packing": "engines",
    "packing.fused_update": "engines.update",
    "packing.own_dropout": "engines.draws",
    "packing.stacked": "engines.modules",
    "packing.tracing": "engines.modules",
    "parameterization": "theory.parameterization",
    "progress": "study.progress",
    "recipe": "sgd.recipe",
    "report.findings": "runs.analyses",
    "report.numbers": "text",
    "report.section": "report.parts",
    "report.sections": "report.page",
    "report.story": "report.captions",
    "report.tables": "runs.tables",
    "reproduce.deciding": "reproduce.judging",
    "reproduce.exponent_figure": "reproduce.page",
    "reproduce.rates": "study.stable_rates",
    "reproduce.toml": "reproduce.presets",
    "schedule": "sgd.learning_rate",
    "search.neighbors": "search.bracket",
    "search.propose": "search.rounds",
    "search.runs": "search.problem",
    "stability": "probes",
    "stability.law": "probes.stability_law",
    "stability.probe": "probes.stability",
    "stability.result": "probes.stable_rate",
    "study.files": "files",
    "study.measured": "study.scheduling",
    "study.pack_size": "study.timing",
    "study.plan": "study.schedule",
    "study.planning": "study.scheduling",
    "study.rows": "runs.schema",
    "study.settings": "study.schedule",
    "study.speed": "study.timing",
    "study.stability": "study.stable_rates",
    "study.store": "runs.store",
    "study.summary": "runs.analyses",
    "study.worker": "study.pack_call",
}

# Old name → new name, each with its module.
NAMES = {
    "TunedSetting": "adviser.Setting",
    "analysis.StableRate": "analysis.LargestRate",
    "analysis.law.LACK_OF_FIT": "theory.power_law.LACK_OF_FIT",
    "families.source_hash": "families.family_code",
    "inspection.inspection.inspect": "inspection.widening.inspect",
    "reproduce.Finding": "reproduce.TrialResult",
    "study.calibration.TunedSetting": "adviser.Setting",
    "training.EVALUATED": "sgd.evaluations.EVALUATED",
    "training.VALIDATED": "sgd.evaluations.VALIDATED",
}


def new_path(path: str) -> str | None:
    """Where the module of an old path is; None if it did not move.

    >>> new_path("widthwise.noise"), new_path("widthwise.packing.update")
    ('widthwise.theory.noise', 'widthwise.engines.update')
    >>> new_path("widthwise.theory.noise")
    """
    if not path.startswith(_PACKAGE):
        return None
    old, rest = path.removeprefix(_PACKAGE), ""
    while old:
        if old in MODULES:
            return f"{_PACKAGE}{MODULES[old]}{rest}"
        old, dot, last = old.rpartition(".")
        rest = f"{dot}{last}{rest}"
    return None


def install() -> None:
    """Let old paths be found; further calls do nothing."""
    if not any(isinstance(finder, _OldPaths) for finder in sys.meta_path):
        # Before the others: they would find a second copy of what lies in a package that moved.
        sys.meta_path.insert(0, _OldPaths())


def old_module(path: str) -> ModuleType:
    """The module that is now elsewhere, for an attribute of its package.

    Not by the import system, whose frames would hide from Python's filters who asked.
    """
    new = str(new_path(path))
    if path not in sys.modules:
        _warn(path, new, stacklevel=4)
        sys.modules[path] = importlib.import_module(new)
    return sys.modules[path]


def old_name(module: str, name: str) -> Any:
    """What a name that ``module`` no longer has is elsewhere.

    Raises:
        AttributeError: if it never had it.
    """
    old = f"{module}.{name}"
    new = NAMES.get(old.removeprefix(_PACKAGE))
    if new is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    _warn(old, f"{_PACKAGE}{new}", stacklevel=4)
    home, _, attribute = new.rpartition(".")
    return getattr(importlib.import_module(f"{_PACKAGE}{home}"), attribute)


def _warn(old: str, new: str, *, stacklevel: int) -> None:
    warnings.warn(
        f"{old} is {new}; the old name goes with {LAST}", DeprecationWarning, stacklevel=stacklevel
    )


# Without the classes of importlib.abc, which imports much: with `python -m widthwise` the working
# directory still comes first here, and a file there may be named like a module of that.
class _OldPaths:
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        new = new_path(fullname)
        if new is None or importlib.util.find_spec(new) is None:
            return None
        return ModuleSpec(fullname, cast(Any, self), origin=new)

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        new = str(new_path(old))
        _warn(old, new, stacklevel=3)
        sys.modules[old] = importlib.import_module(new)
