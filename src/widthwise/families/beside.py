"""Modules beside the user: those that a family's file, or a module in the working directory,
imports. ``sys.path`` stays as it is.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, ModuleType

# Where families were sought, the latest first; of these, the working directories.
_directories: list[str] = []
_working: set[str] = set()
# Top-level module of the user's → the directory in which it was found.
_found: dict[str, str] = {}
# The module that is being sought for a family, and where.
_sought: list[tuple[str, str]] = []
# Directory → its modules, by name, with the state of their files when they were imported; and those
# that make room for another family's.
_State = tuple[int, int]
_modules: dict[str, dict[str, tuple[ModuleType, _State]]] = {}
_aside: dict[str, dict[str, ModuleType]] = {}
# Files that are loaded by their path; they have names of their own.
OWN_NAME = "widthwise_user_"


def working_directories() -> list[str]:
    """What a new process must look through, besides ``sys.path`` without its entry for the
    directory it is in, to find everything that this one finds."""
    here = [str(Path.cwd())] if "" in sys.path else []
    return list(dict.fromkeys([*(d for d in _directories if d in _working), *here]))


def look_in(directories: Sequence[str], *, working: bool = True) -> None:
    """From now on, modules of the user's find others there.

    Args:
        directories: the first is sought first.
        working: whether they are the user's working directories. Modules there are found before
            the standard library, as ``python -m`` does it; those beside a file are not.
    """
    for directory in reversed(directories):
        if _is_on_the_path(directory) and working:
            continue
        for finder in (_FIRST, _LAST):
            if finder not in sys.meta_path:
                sys.meta_path.insert(0 if finder is _FIRST else len(sys.meta_path), finder)
        if directory not in _directories:
            _directories.insert(0, directory)
        if working:
            _working.add(directory)


def belongs_to(directory: str, module: str) -> None:
    """Note that a module is a file of the user's: what it imports is sought beside it."""
    _found[module.partition(".")[0]] = directory


@contextmanager
def beside(directory: str | None, sought: str | None = None) -> Iterator[None]:
    """While something of the user's is imported or called.

    Modules that another family imported from beside its file step aside, and stay aside if this one
    has others of their names.

    Args:
        directory: where it lies; None if that is not known.
        sought: the module to be imported from there, even if another of its name lies elsewhere.
    """
    if directory is None or directory not in _directories:
        yield
        return
    aside = _step_aside_for(directory)
    if sought is not None:
        _sought.append((sought.partition(".")[0], directory))
    try:
        yield
    finally:
        if sought is not None:
            _sought.pop()
        _remember(directory)
        _come_back(aside)


def forget_edited(directory: str) -> bool:
    """Make sure that the modules beside a file are read again if one of them was edited; whether
    one was."""
    modules = _modules.get(directory, {})
    edited = any(state != _state(module) for module, state in modules.values())
    if edited:
        for name, (module, _) in modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        del _modules[directory]
        _aside.pop(directory, None)
    return edited


class _AsWritten(SourceFileLoader):
    """Compiles what stands in the file. Python's cache of compiled code knows a file by its size
    and by the second it was written in: one that is edited at once it takes for the one before.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def as_written(spec: ModuleSpec | None) -> ModuleSpec | None:
    """A module of the user's, from its source rather than from Python's cache."""
    if spec is not None and type(spec.loader) is SourceFileLoader:
        spec.loader = _AsWritten(spec.loader.name, spec.loader.path)
    return spec


class _Finder(MetaPathFinder):
    """The first finder serves imports of the user's modules; the last one all that found nothing
    elsewhere, such as networks that import something later."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None:
            if self is _LAST or name.partition(".")[0] not in _found:
                return None
            return as_written(PathFinder.find_spec(name, path))
        for directory in _directories_for(name, last=self is _LAST):
            spec = as_written(PathFinder.find_spec(name, [directory]))
            # A folder without __init__.py is a module only if there is no other.
            if spec is not None and (spec.origin is not None or self is _LAST):
                _found[name] = directory
                return spec
        return None


_FIRST, _LAST = _Finder(), _Finder()


def is_own_finder(finder: object) -> bool:
    """Whether an entry of ``sys.meta_path`` is of this module."""
    return isinstance(finder, _Finder)


def _directories_for(name: str, *, last: bool) -> list[str]:
    if _sought and _sought[-1][0] == name:
        return [_sought[-1][1]]
    own = _found.get(_importer(sys._getframe(2)))
    if last:
        return [*([own] if own else []), *(d for d in _directories if d in _working)]
    if own is None or (name in sys.stdlib_module_names and own not in _working):
        return []
    return [own]


def _importer(frame: FrameType | None) -> str:
    """The top-level module whose code imports something."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if module not in ("importlib", "_frozen_importlib"):
            return module
        frame = frame.f_back
    return ""


def _is_on_the_path(directory: str) -> bool:
    return directory in [entry or str(Path.cwd()) for entry in sys.path]


def _step_aside_for(directory: str) -> list[tuple[str, str, ModuleType]]:
    """(directory, name, module) of those that did."""
    aside = []
    for other, modules in _modules.items():
        for name, (module, _) in modules.items():
            visible = other in _working and not _has(directory, name.partition(".")[0])
            if other != directory and not visible and sys.modules.get(name) is module:
                aside.append((other, name, sys.modules.pop(name)))
    for name, module in _aside.pop(directory, {}).items():
        sys.modules[name] = module
        _found[name.partition(".")[0]] = directory
    return aside


def _come_back(aside: list[tuple[str, str, ModuleType]]) -> None:
    for directory, name, module in aside:
        if name in sys.modules:
            _aside.setdefault(directory, {})[name] = module
        else:
            sys.modules[name] = module


def _has(directory: str, name: str) -> bool:
    spec = PathFinder.find_spec(name, [directory])
    return spec is not None and spec.origin is not None


def _remember(directory: str) -> None:
    tops = {name for name, where in _found.items() if where == directory}
    within = tuple(f"{top}." for top in tops)
    known = _modules.setdefault(directory, {})
    for name, module in list(sys.modules.items()):
        if not (name in tops or name.startswith(within)) or OWN_NAME in name:
            continue
        if name not in known or known[name][0] is not module:
            known[name] = (module, _state(module))


def _state(module: ModuleType) -> _State:
    try:
        stat = Path(str(getattr(module, "__file__", ""))).stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)
