"""Where a module would be found, and whose it is. Nothing is imported for it."""

import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import machinery, metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Literal

from widthwise.families.beside import OWN_NAME, is_own_finder, working_directories

_WIDTHWISE = Path(__file__).parents[1]
_OF_INSTALLERS = ("site-packages", "dist-packages")
_LOADERS = (
    (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
    (machinery.SourceFileLoader, machinery.SOURCE_SUFFIXES),
    (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A module that is imported or could be.

    Attributes:
        name: dotted.
        file: None of a folder without ``__init__.py``.
        places: where its submodules lie; empty if it is no package.
        beside: whether it was found beside the family, so that its imports are sought there first.
    """

    name: str
    file: Path | None
    places: tuple[str, ...] = ()
    beside: bool = False

    @property
    def package(self) -> str:
        """The one to which its relative imports refer."""
        return self.name if self.places else self.name.rpartition(".")[0]

    @property
    def is_script(self) -> bool:
        """Whether its name says nothing to others."""
        return self.name == "__main__" or OWN_NAME in self.name

    @property
    def root(self) -> Path | None:
        """The folder in which its top-level package lies."""
        if self.file is None:
            return None
        levels = self.name.count(".") + bool(self.places)
        return self.file.parents[min(levels, len(self.file.parents) - 1)]


def of_namespace(namespace: Mapping[str, Any], *, beside: bool = False) -> Found:
    """A module that is loaded, by its global variables."""
    name, spec = str(namespace.get("__name__", "")), namespace.get("__spec__")
    if name == "__main__" and spec is not None:  # python -m package.module
        name = spec.name
    file = namespace.get("__file__")
    return Found(
        name=name,
        file=None if file is None else Path(file).absolute(),
        places=tuple(map(str, namespace.get("__path__", ()))),
        beside=beside,
    )


def find_top(name: str, root: Path | None, *, before_standard: bool) -> Found | None:
    """A module without dots in its name, as a module beside the family would find it.

    Args:
        name: of the module.
        root: where it is sought first; None to seek it as any other module does.
        before_standard: whether it is even if the standard library has one of this name.
    """
    standard = name in sys.stdlib_module_names
    folders: list[str] = []
    if root is not None and (before_standard or not standard):
        spec = _in_folder(name, str(root))
        if spec is not None and spec.origin is not None:
            return _found(name, spec, beside=True)
        folders += _places(spec)
    if standard:
        return None
    near = bool(folders)
    for found in (_elsewhere(name), *(_in_folder(name, d) for d in working_directories())):
        if found is not None and found.origin is not None and found.has_location:
            return _found(name, found)
        folders += _places(found)
    unique = tuple(dict.fromkeys(folders))
    return Found(name=name, file=None, places=unique, beside=near) if unique else None


def find_below(parent: Found, tail: str) -> Found | None:
    """A module directly in a package."""
    name = f"{parent.name}.{tail}"
    folders: list[str] = []
    for place in parent.places:
        spec = _in_folder(name, place)
        if spec is not None and spec.origin is not None:
            return _found(name, spec, beside=parent.beside)
        folders += _places(spec)
    if not folders:
        return None
    return Found(name=name, file=None, places=tuple(folders), beside=parent.beside)


def owner(found: Found) -> Literal["user", "installer", "other"]:
    """Whose it is: the user's; of an installed distribution; of Python or Widthwise, or nobody's
    file."""
    file = found.file
    top = found.name.partition(".")[0]
    if file is None or top == "widthwise" or _lies_in(file, _WIDTHWISE):
        return "other"
    if _is_installed(file):
        return "installer" if distributions_of(found) else "user"
    libraries = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    return "other" if any(_lies_in(file, Path(library)) for library in libraries) else "user"


def distributions_of(found: Found) -> list[str]:
    """The installed distributions to which it may belong; several share a top-level package now
    and then."""
    top, _, below = found.name.partition(".")
    names = sorted(set(_distributions(tuple(sys.path)).get(top, ())))
    if len(names) < 2 or not below or found.file is None:
        return names
    end = found.file.as_posix()
    having = [
        name
        for name in names
        if any(end.endswith(f"/{file}") for file in metadata.distribution(name).files or ())
    ]
    return having or names


@lru_cache(maxsize=4)
def _distributions(path: tuple[str, ...]) -> Mapping[str, Sequence[str]]:
    """Top-level module → distributions that install it, on this path. It reads them all."""
    return metadata.packages_distributions()


def _elsewhere(name: str) -> ModuleSpec | None:
    """As the import system finds it, whatever is loaded."""
    for finder in sys.meta_path:
        if is_own_finder(finder):  # they look at who asks
            continue
        try:
            spec = finder.find_spec(name, None)
        except Exception:  # a finder of somebody's that expects to be asked while importing
            continue
        if spec is not None:
            return spec
    return None


def _in_folder(name: str, folder: str) -> ModuleSpec | None:
    # A new finder: one that is kept may miss a file that was just written.
    return machinery.FileFinder(folder, *_LOADERS).find_spec(name)


def _found(name: str, spec: ModuleSpec, *, beside: bool = False) -> Found:
    origin = Path(str(spec.origin)).absolute()
    return Found(name=name, file=origin, places=tuple(_places(spec)), beside=beside)


def _places(spec: ModuleSpec | None) -> list[str]:
    return [] if spec is None else list(spec.submodule_search_locations or ())


def _is_installed(file: Path) -> bool:
    return any(part in _OF_INSTALLERS for part in file.parts)


def _lies_in(file: Path, folder: Path) -> bool:
    return file.is_relative_to(folder) or file.resolve().is_relative_to(folder.resolve())
