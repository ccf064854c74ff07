"""What the code of a family of the user's is, so that results of edited code never mix."""

import functools
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from widthwise.errors import InputError
from widthwise.families.beside import beside
from widthwise.families.finding import (
    Found,
    distributions_of,
    find_below,
    find_top,
    of_namespace,
    owner,
)
from widthwise.families.syntax import ImportStatement, Syntax, read_syntax
from widthwise.families.user import UserFamily

# Their versions are kept with every study.
_IN_EVERY_STUDY = ("torch", "numpy", "widthwise")


@dataclass(frozen=True, kw_only=True)
class FamilyCode:
    """All code from which a family's networks are built.

    Attributes:
        modules: the user's own modules → SHA-256 of the syntax tree, so that comments, blank lines
            and docstrings do not count; of the bytes, if it is no source. A module is named by its
            file, relative to the folder in which the family's top-level module or package lies, or,
            elsewhere, by its dotted name.
        packages: installed distributions that these import → version; without PyTorch, NumPy and
            Widthwise, whose versions are kept anyway.
    """

    modules: Mapping[str, str]
    packages: Mapping[str, str]

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Plain values, sorted."""
        return {
            "modules": dict(sorted(self.modules.items())),
            "packages": dict(sorted(self.packages.items())),
        }


def family_code(family: UserFamily) -> FamilyCode:
    """What a family's code is, wherever its folder lies.

    Its own modules are those that define the function or are named for it, and all that these
    import, in functions too, but not under ``if __name__ == "__main__":`` or ``if TYPE_CHECKING:``;
    with the packages in which they lie. Nothing is imported to find them, and the answer is the
    same in every process that finds the same files. Modules that the import system is asked for by
    a name that is computed count only if a global variable holds them.

    Files of data that the code reads do not count.

    Raises:
        InputError: if a file cannot be read.
    """
    with beside(family.directory):
        entries = list(_entries(family))
        walk = _Walk(
            reference=family.reference,
            root=_root(family, entries) if entries else None,
            before_standard=not _is_file(family),
        )
        for namespace in entries:
            walk.begin(namespace)
        walk.finish()
        return FamilyCode(modules=walk.modules, packages=walk.packages)


def code_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two codes, as :meth:`FamilyCode.to_dict` gives them; empty if nothing.

    >>> code_changes({"modules": {"a.py": "1", "b.py": "2"}, "packages": {"timm": "1.0.3"}},
    ...              {"modules": {"a.py": "3", "c.py": "4"}, "packages": {"timm": "1.0.4"}})
    ['a.py changed', 'b.py is no longer imported', 'c.py is new', 'timm 1.0.3 became 1.0.4']
    """
    changes = []
    for kind in ("modules", "packages"):
        old, new = before.get(kind, {}), after.get(kind, {})
        for name in sorted({*old, *new}):
            if name not in old:
                changes.append(f"{name} is new")
            elif name not in new:
                changes.append(f"{name} is no longer imported")
            elif old[name] != new[name]:
                became = f"{old[name]} became {new[name]}"
                changes.append(f"{name} changed" if kind == "modules" else f"{name} {became}")
    return changes


@dataclass(kw_only=True)
class _Walk:
    """From the modules that define the function to all that they import.

    A module is *certain* if it is loaded whenever the function is. What its global variables hold
    is looked at; that of others depends on what else the process did.
    """

    reference: str
    root: Path | None
    before_standard: bool
    modules: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    _certain: deque[tuple[Found, Mapping[str, Any]]] = field(default_factory=deque)
    _others: deque[Found] = field(default_factory=deque)
    _seen: set[Path] = field(default_factory=set)

    def begin(self, namespace: Mapping[str, Any]) -> None:
        """With a module that is loaded."""
        found = of_namespace(namespace)
        near = self.root is not None and found.file is not None and found.root == self.root
        found = of_namespace(namespace, beside=near)
        self._certain.append((found, namespace))
        if found.package:
            self._reach(self._resolve(found.package, found, certain=True), certain=True)

    def finish(self) -> None:
        # Certain ones first: a module that is both counts as such.
        while self._certain or self._others:
            if self._certain:
                found, namespace = self._certain.popleft()
                self._visit(found, namespace)
            else:
                self._visit(self._others.popleft(), None)

    def _visit(self, found: Found, namespace: Mapping[str, Any] | None) -> None:
        belongs = owner(found)
        if belongs == "installer":
            self._note_packages(found)
        if belongs != "user" or found.file is None or found.file.resolve() in self._seen:
            return
        self._seen.add(found.file.resolve())
        syntax = read_syntax(self._content(found.file))
        self.modules[self._key(found, found.file)] = syntax.digest
        for statement in syntax.imports:
            certain = statement.certain and namespace is not None
            for name in self._names(statement, found):
                self._reach(self._resolve(name, found, certain=certain), certain=certain)
        if namespace is not None:
            for held in _held(syntax, namespace):
                chain = self._resolve(held.name, found, certain=True)
                complete = bool(chain) and chain[-1].name == held.name
                self._reach(chain if complete else [*chain, held], certain=True)

    def _reach(self, chain: list[Found], *, certain: bool) -> None:
        for found in chain:
            namespace = _loaded(found) if certain else None
            if namespace is not None:
                self._certain.append((found, namespace))
            else:
                self._others.append(found)

    def _names(self, statement: ImportStatement, importer: Found) -> Iterator[str]:
        """The modules that a statement may import, by their full names."""
        base = statement.module
        if statement.level:
            above = importer.package.split(".")
            kept = len(above) - statement.level + 1
            if kept < 1 or not importer.package:
                return
            base = ".".join([*above[:kept], *([base] if base else [])])
        if not base:
            return
        yield base
        for name in statement.names:
            if name != "*":
                yield f"{base}.{name}"
                continue
            chain = self._resolve(base, importer, certain=False)
            last = chain[-1] if chain else None
            if last is not None and last.file is not None and owner(last) == "user":
                exported = read_syntax(self._content(last.file)).exported
                yield from (f"{base}.{name}" for name in exported)

    def _resolve(self, name: str, importer: Found, *, certain: bool) -> list[Found]:
        """A module and the packages in which it lies, the outermost first; up to the first that is
        not the user's, or is not there."""
        top, *below = name.split(".")
        if top in _IN_EVERY_STUDY:
            return []
        root = self.root if importer.beside else None
        found = find_top(top, root, before_standard=self.before_standard)
        if found is None and certain and top not in sys.stdlib_module_names:
            # Whoever imported it took its folder off the path again.
            module = sys.modules.get(top)
            found = None if module is None else of_namespace(_variables(module))
        chain: list[Found] = []
        while found is not None:
            chain.append(found)
            if not below or (found.file is not None and owner(found) != "user"):
                break
            found = find_below(found, below.pop(0))
        return chain

    def _note_packages(self, found: Found) -> None:
        for name in distributions_of(found):
            if name.lower() not in _IN_EVERY_STUDY:
                with suppress(metadata.PackageNotFoundError):
                    self.packages[name] = metadata.version(name)

    def _key(self, found: Found, file: Path) -> str:
        for path in (file, file.resolve()):
            if self.root is not None and path.is_relative_to(self.root):
                return path.relative_to(self.root).as_posix()
        return file.name if found.is_script else found.name

    def _content(self, file: Path) -> bytes:
        try:
            # A module in an archive is a file below it.
            archive = next((path for path in file.parents if path.is_file()), file)
            return archive.read_bytes()
        except OSError as error:
            raise InputError(
                f"all code of the family {self.reference!r} must be readable, but {file} is not: "
                f"{error.strerror or error}; restore the file or its permissions"
            ) from error


def _entries(family: UserFamily) -> Iterator[Mapping[str, Any]]:
    """The global variables of the modules that are named for a function or define it."""
    named = sys.modules.get(family.module or "")
    seen: list[Mapping[str, Any]] = []
    for namespace in ([_variables(named)] if named else []) + [*_defining(family.function)]:
        if namespace.get("__file__") and not any(namespace is other for other in seen):
            seen.append(namespace)
            yield namespace


def _defining(function: Any) -> Iterator[Mapping[str, Any]]:
    """The global variables of what is called, through wrappers, partials and methods."""
    waiting, seen = [function], set()
    while waiting:
        called = waiting.pop(0)
        if id(called) in seen:
            continue
        seen.add(id(called))
        if isinstance(called, functools.partial):
            given = (called.func, *called.args, *called.keywords.values())
            waiting += [value for value in given if callable(value)]
        elif hasattr(called, "__globals__"):
            yield called.__globals__
        elif hasattr(called, "__func__"):
            waiting += [called.__func__, called.__self__]
        else:
            kind = called if isinstance(called, type) else type(called)
            module = sys.modules.get(kind.__module__)
            if module is not None:
                yield _variables(module)
        if hasattr(called, "__wrapped__"):
            waiting.append(called.__wrapped__)


def _is_file(family: UserFamily) -> bool:
    return family.reference.rpartition(":")[0].endswith(".py")


def _root(family: UserFamily, entries: list[Mapping[str, Any]]) -> Path | None:
    """The folder from which files are named; not the working directory, from which a study may be
    resumed elsewhere."""
    if family.directory is not None and _is_file(family):
        return Path(family.directory)
    return of_namespace(entries[0]).root


def _held(syntax: Syntax, namespace: Mapping[str, Any]) -> Iterator[Found]:
    """Modules that global variables of a loaded module hold."""
    for name in sorted(syntax.assigned):
        value = namespace.get(name)
        if isinstance(value, ModuleType):
            yield of_namespace(_variables(value))


def _loaded(found: Found) -> Mapping[str, Any] | None:
    """The global variables of a module, if it is the one that is loaded under its name."""
    module = sys.modules.get(found.name)
    if not isinstance(module, ModuleType):
        return None
    variables = _variables(module)
    file = of_namespace(variables).file
    same = file is not None and found.file is not None and file.resolve() == found.file.resolve()
    return variables if same else None


def _variables(module: Any) -> Mapping[str, Any]:
    """Without waking a module that is loaded only when it is looked at."""
    variables: Mapping[str, Any] = object.__getattribute__(module, "__dict__")
    return variables
