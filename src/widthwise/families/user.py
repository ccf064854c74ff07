"""The user's own family: a function ``build(widening_factor) -> nn.Module``."""

import argparse
import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import nn

from widthwise.errors import InputError, exits_raise, said_by
from widthwise.families.base import require_seed
from widthwise.families.beside import (
    OWN_NAME,
    as_written,
    belongs_to,
    beside,
    forget_edited,
    look_in,
)
from widthwise.families.size import tensors_in_memory
from widthwise.mistaken import without_function
from widthwise.theory.parameterization import init_variance, width_rule


@dataclass(frozen=True, kw_only=True)
class UserFamily:
    """Networks from a function of the user's.

    The function is called under ``torch.manual_seed(seed)`` (the caller's generator is restored
    afterwards); if it has a parameter named ``seed`` it receives the seed as well.

    Attributes:
        reference: "module:function" or "path/to/file.py:function".
        function: what the reference names.
        parameterization: how σ_init² of a widening layer depends on width: "standard" if ∝ 1/w
            (PyTorch's default initialization, Kaiming, Xavier), "ntk" if independent of it; see
            :func:`widthwise.theory.parameterization.width_rule`.
        directory: where the modules lie that it imports; None if nothing is to be sought there.
        module: the name under which the module of the reference is loaded; None if it is not.
    """

    reference: str
    function: Callable[..., nn.Module]
    parameterization: str = "standard"
    directory: str | None = field(default=None, compare=False)
    module: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        width_rule(self.parameterization)

    @property
    def name(self) -> str:
        return self.reference.rpartition(":")[2]

    def init_variance(self, widening_factor: float) -> float:
        """Family-level σ_init² with gain 1: constants compare nothing across families."""
        return float(init_variance(self.parameterization, widening_factor, gain=1.0))

    @property
    def takes_width(self) -> bool:
        """Whether the function has a parameter for the widening factor."""
        return bool(self._width_parameters())

    @property
    def needs_width(self) -> bool:
        """Whether that parameter has no default."""
        return any(p.default is p.empty for p in self._width_parameters())

    def build(self, widening_factor: float, seed: int = 0) -> nn.Module:
        """Calls the function.

        Raises:
            InputError: if it raises, or returns something else than a module.
        """
        factor = int(widening_factor) if float(widening_factor).is_integer() else widening_factor
        return self._call((factor,), seed)

    def network(self, widening_factor: float | None = None, seed: int = 0) -> nn.Module:
        """The network at a widening factor; without one, as the function builds it when it is not
        told (at 1 if it must be told).

        Raises:
            InputError: as for :meth:`build`; or if the function takes no widening factor.
        """
        if widening_factor is not None and not self.takes_width:
            raise InputError(
                f"{self.reference} must take a widening factor to be built at "
                f"{widening_factor:g}, but it has no parameter for one; add it, or leave the "
                "factor out"
            )
        if widening_factor is None and not self.needs_width:
            return self._call((), seed)
        return self.build(1.0 if widening_factor is None else widening_factor, seed)

    def _width_parameters(self) -> list[inspect.Parameter]:
        positional = (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        )
        return [p for p in self._parameters().values() if p.kind in positional and p.name != "seed"]

    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        try:
            return inspect.signature(self.function).parameters
        except (TypeError, ValueError):  # as of many functions written in C
            raise InputError(
                f"{self.reference} must be a function whose parameters can be read, got "
                f"{self.function!r}; call it in one of your own"
            ) from None

    def _call(self, arguments: tuple[float, ...], seed: int) -> nn.Module:
        called = f"{self.reference}({', '.join(f'{n:g}' for n in arguments)})"
        require_seed(seed)
        wants_seed = "seed" in self._parameters()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                with beside(self.directory), tensors_in_memory(), _endings_that_raise():
                    module = self.function(*arguments, **({"seed": seed} if wants_seed else {}))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # also what libraries derive from it, to be let through
                raise InputError(
                    f"{called} must return a module, but it raised {said_by(error)}"
                ) from error
        if not isinstance(module, nn.Module):
            raise InputError(f"{called} must return a torch.nn.Module, got {type(module).__name__}")
        return module


def user_family(reference: str, parameterization: str = "standard") -> UserFamily:
    """The family that "module:function" or "path/to/file.py:function" names.

    Raises:
        InputError: if the module or the function cannot be found.
    """
    target, separator, attribute = reference.rpartition(":")
    if not separator or not target or not attribute:
        raise InputError(
            f'a family of your own is written "module:function" or "file.py:function", '
            f"got {reference!r}{without_function(reference)}"
        )
    module, directory = _load_module(target, reference)
    function: Any = module
    for part in attribute.split("."):
        if not hasattr(function, part):
            raise InputError(f"{target} has no {attribute!r}, needed for the family {reference!r}")
        function = getattr(function, part)
    if not callable(function):
        raise InputError(f"{reference!r} must be a function, got {type(function).__name__}")
    return UserFamily(
        reference=reference,
        function=function,
        parameterization=parameterization,
        directory=directory,
        module=module.__name__,
    )


_being_imported: list[Path] = []


def refuse_while_importing() -> None:
    """A script that holds a family and starts a study would start it again in every process that
    imports the family, and wait for itself.

    Raises:
        InputError: while a file is being imported for a family.
    """
    if _being_imported:
        raise InputError(
            f"{_being_imported[-1]} starts a study when it is imported for its family; put what "
            'runs the study under `if __name__ == "__main__":`'
        )


def reference_to(function: Callable[..., nn.Module]) -> str:
    """The reference under which another process finds this function.

    Raises:
        InputError: for lambdas, nested functions and functions typed into a prompt or notebook.
    """
    name = getattr(function, "__qualname__", "")
    module = getattr(function, "__module__", None)
    if not name or "<" in name:
        raise InputError(
            f"a family function must be importable by worker processes, got {function!r}; "
            "define it at the top level of a .py file"
        )
    if module == "__main__":
        source = _source(function)
        if source is None or not Path(source).is_file():
            raise InputError(
                f"a family function must be importable by worker processes, got {name} from an "
                "interactive session; put it into a .py file"
            )
        target = str(Path(source).resolve())
    else:
        target = str(module)
    found: Any = sys.modules.get(str(module))
    known = found is not None
    for part in name.split("."):
        found = getattr(found, part, None)
    if known and found != function:
        raise InputError(
            "a family function must be what worker processes find under its name, but "
            f"{target}:{name} is another object than the one given; pass it under the name that "
            "it has in its module"
        )
    return f"{target}:{name}"


def _source(function: Callable[..., nn.Module]) -> str | None:
    """The file that defines a function or class; None of what was typed in."""
    try:
        return inspect.getsourcefile(inspect.unwrap(function))
    except (TypeError, OSError):
        return None


def _load_module(target: str, reference: str) -> tuple[ModuleType, str]:
    """The module, and where those lie that it imports."""
    try:
        with _endings_that_raise():
            if target.endswith(".py"):
                return _load_file(Path(target))
            directory = str(Path.cwd())
            look_in([directory])
            with beside(directory, target):
                return importlib.import_module(target), directory
    except SystemExit as error:
        raise InputError(
            f"the family {reference!r} could not be imported: SystemExit: {error}; put what runs "
            'the script under `if __name__ == "__main__":`'
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also what libraries derive from it, to be let through
        raise InputError(
            f"the family {reference!r} could not be imported: {said_by(error)}"
        ) from error


@contextmanager
def _endings_that_raise() -> Iterator[None]:
    """The command line is not the script's: a parser at its top level would print its usage."""
    original = argparse.ArgumentParser.error

    def error(self: argparse.ArgumentParser, message: str) -> NoReturn:
        raise SystemExit(f"{self.prog}: {message}")

    argparse.ArgumentParser.error = error  # type: ignore[method-assign]
    try:
        with exits_raise():
            yield
    finally:
        argparse.ArgumentParser.error = original  # type: ignore[method-assign]


def _load_file(path: Path) -> tuple[ModuleType, str]:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    content = path.read_bytes()
    root = path.parents[_levels(path, content)]
    directory = str(root)
    look_in([directory], working=False)
    edited = forget_edited(directory)
    with beside(directory):
        # By content too: an edited file is another module.
        identity = hashlib.sha256(str(path).encode() + content).hexdigest()
        name = ".".join([*_package(path, root), f"{OWN_NAME}{identity[:16]}"])
        if edited or name not in sys.modules:
            _execute(name, path, directory)
        return sys.modules[name], directory


def _execute(name: str, path: Path, directory: str) -> None:
    spec = as_written(importlib.util.spec_from_file_location(name, path))
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    belongs_to(directory, name)
    sys.modules[name] = module  # dataclasses and pickling look a module up by name
    _being_imported.append(path)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        _being_imported.pop()


def _levels(path: Path, content: bytes) -> int:
    """How many folders above its own the imports of a file begin: its package's, if it has
    relative imports."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError, RecursionError):  # executing it says what is wrong
        return 0
    levels = [node.level for node in nodes if isinstance(node, ast.ImportFrom)]
    relative = max(levels, default=0)
    if relative == 0:
        return 0
    packages = 0
    while (path.parents[packages] / "__init__.py").is_file():
        packages += 1
    return min(max(packages, relative), len(path.parents) - 1)


def _package(path: Path, root: Path) -> tuple[str, ...]:
    """The names of a file's package, which is imported."""
    names = path.parent.relative_to(root).parts
    if names:
        with beside(str(root), names[0]):
            package = importlib.import_module(".".join(names))
        places = [Path(place).resolve() for place in getattr(package, "__path__", ())]
        if path.parent not in places:
            raise ImportError(
                f"the package {package.__name__!r} of {path} must be the one it lies in, but "
                f"another of this name is imported, from {', '.join(map(str, places))}; rename one"
            )
    return names
