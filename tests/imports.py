"""The imports of a package, read from its source: who takes what from whom, wherever it is written
(inside functions and under TYPE_CHECKING too).
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One module takes from another; `lazy` if only inside a function or for type checking."""

    source: str
    target: str
    lazy: bool


def read_imports(root: Path) -> list[Import]:
    """Imports among the modules of the package in the folder ``root``, by dotted names."""
    modules = {_name(path, root): path for path in sorted(root.rglob("*.py"))}
    found = []
    for module, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        eager = set(_eager(tree))
        for node in ast.walk(tree):
            found += [
                Import(module, target, node not in eager)
                for target in _targets(node, modules)
                if target != module
            ]
    return sorted(set(found), key=lambda i: (i.source, i.target, i.lazy))


def circles(imports: Iterable[Import]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others."""
    ahead: dict[str, set[str]] = {}
    for i in imports:
        ahead.setdefault(i.source, set()).add(i.target)
    reach = {module: _reachable(module, ahead) for module in ahead}
    groups = {
        frozenset({module, *(other for other in seen if module in reach.get(other, ()))})
        for module, seen in reach.items()
        if module in seen
    }
    return sorted(sorted(group) for group in groups)


def upward(imports: Iterable[Import], order: list[tuple[str, ...]]) -> list[str]:
    """Imports that do not go down the ``order`` of packages, the lowest floor first."""
    floor = {name: i for i, names in enumerate(order) for name in names}
    return [
        f"{i.source} imports {i.target}"
        for i in imports
        if package(i.source) != package(i.target)
        and floor[package(i.source)] <= floor[package(i.target)]
    ]


def underscored(imports: Iterable[Import]) -> list[str]:
    """Imports of another package's private module."""
    return [
        f"{i.source} imports {i.target}"
        for i in imports
        if package(i.source) != package(i.target)
        and any(part.startswith("_") for part in i.target.split(".")[1:])
    ]


def package(module: str) -> str:
    """ "widthwise.study.spec" → "study"; the package's own ``__init__`` → its name.

    Modules directly in the package stand for themselves.
    """
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def _name(path: Path, root: Path) -> str:
    parts = (root.name, *path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(node: ast.AST, modules: Mapping[str, Path]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name in modules]
    if not isinstance(node, ast.ImportFrom) or node.module is None or node.level:
        return []
    inside = [f"{node.module}.{alias.name}" for alias in node.names]
    named = [name for name in inside if name in modules]
    whole = [node.module] if node.module in modules and len(named) < len(inside) else []
    return named + whole


def _eager(tree: ast.Module) -> Iterable[ast.stmt]:
    """Statements that run when the module is imported."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def _reachable(start: str, ahead: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(ahead.get(start, ()))
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += ahead.get(module, ())
    return seen
