"""What one file of Python says: its identity, and which modules it imports. Nothing is executed."""

import ast
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

# Where a node stands, how strings were written, comments for type checkers: none changes what runs.
_IRRELEVANT = ("ctx", "kind", "type_comment", "type_ignores")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BRANCHES = (ast.If, ast.IfExp, ast.BoolOp, ast.Try, ast.TryStar, ast.For, ast.While, ast.Match)
_MAY_NOT_RUN = (*_FUNCTIONS, *_COMPREHENSIONS, *_BRANCHES)
_IMPORTING_CALLS = ("import_module", "__import__")


@dataclass(frozen=True, kw_only=True)
class ImportStatement:
    """``import module``, or ``from module import names``.

    Attributes:
        module: without its leading dots.
        level: how many these are.
        names: after "import"; empty without "from".
        certain: whether it has been executed once the module has.
    """

    module: str
    level: int
    names: tuple[str, ...]
    certain: bool


@dataclass(frozen=True, kw_only=True)
class Syntax:
    """One file.

    Attributes:
        digest: SHA-256 of the syntax tree without docstrings; of the bytes, if they are not Python.
        imports: what it imports, in functions too; but not under ``if __name__ == "__main__":`` or
            ``if TYPE_CHECKING:``.
        assigned: global variables that the module itself assigns, and no function does.
        exported: the strings that are assigned to ``__all__``.
    """

    digest: str
    imports: tuple[ImportStatement, ...] = ()
    assigned: frozenset[str] = frozenset()
    exported: tuple[str, ...] = ()


@lru_cache(maxsize=256)
def read_syntax(content: bytes) -> Syntax:
    """What the content of a file says.

    Comments, blank lines, formatting and docstrings do not count, nor does the version of Python.

    >>> read_syntax(b"x = 1  # one").digest == read_syntax(b"'''Doc.'''\\n\\nx  =  1").digest
    True
    >>> read_syntax(b"x = 1").digest == read_syntax(b"x = 2").digest
    False
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes and the like: importing it says so
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Syntax(digest=hashlib.sha256(content).hexdigest())
    # Sets are sorted: their order differs from process to process.
    return Syntax(
        digest=_digest(tree),
        imports=tuple(dict.fromkeys(_imports(tree))),
        assigned=frozenset(_assigned(tree)),
        exported=tuple(_exported(tree)),
    )


def _digest(tree: ast.Module) -> str:
    """Not by ``ast.dump``: what it writes differs among versions of Python. By a stack, because
    long sums are deep trees."""
    digest = hashlib.sha256()
    stack: list[Any] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, bytes):
            digest.update(item)
        else:
            stack.extend(reversed(_written(item)))
    return digest.hexdigest()


def _written(item: Any) -> list[Any]:
    if isinstance(item, list):
        return [b"[", *map(_not_bytes, item), b"]"]
    if isinstance(item, ast.AST):
        parts: list[Any] = [f"{type(item).__name__}(".encode()]
        for name, value in sorted(ast.iter_fields(item), key=lambda field: field[0]):
            written = _without_docstring(item, value) if name == "body" else value
            if name not in _IRRELEVANT and written is not None and written != []:
                parts += [f"{name}=".encode(), _not_bytes(written)]
        return [*parts, b")"]
    return [_constant(item)]


def _not_bytes(item: Any) -> Any:
    """Lists and nodes as they are; constants written."""
    return item if isinstance(item, (list, ast.AST)) else _constant(item)


def _constant(item: Any) -> bytes:
    # Integers may be too long for decimals; which characters are printable depends on the version.
    text = f"{item:x}" if isinstance(item, int) else ascii(item)
    return f"{type(item).__name__} {text};".encode()


def _without_docstring(node: ast.AST, body: Any) -> Any:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        return body[1:]
    return body


def _imports(tree: ast.Module) -> Iterator[ImportStatement]:
    stack: list[tuple[ast.AST, bool]] = [(tree, True)]
    while stack:
        node, certain = stack.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield ImportStatement(module=alias.name, level=0, names=(), certain=certain)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield ImportStatement(
                module=node.module or "", level=node.level, names=names, certain=certain
            )
        elif isinstance(node, ast.Call):
            yield from _imported_by_call(node, certain)
        children: list[ast.AST] = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.If) and _is_for_others(node.test):
            children = list(node.orelse)
        inner = certain and not isinstance(node, _MAY_NOT_RUN)
        stack.extend((child, inner) for child in reversed(children))


def _imported_by_call(call: ast.Call, certain: bool) -> Iterator[ImportStatement]:
    """``importlib.import_module("name")``, as far as the name is written there."""
    function = call.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    first = call.args[0] if call.args else None
    if (
        name in _IMPORTING_CALLS
        and isinstance(first, ast.Constant)
        and isinstance(first.value, str)
    ):
        module = first.value.lstrip(".")
        level = len(first.value) - len(module)
        yield ImportStatement(module=module, level=level, names=(), certain=certain)


def _is_for_others(test: ast.expr) -> bool:
    """Whether a branch is taken by scripts or type checkers alone."""
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq):
        sides = {ast.unparse(test.left), *map(ast.unparse, test.comparators)}
        return sides == {"__name__", "'__main__'"}
    return getattr(test, "attr", getattr(test, "id", "")) == "TYPE_CHECKING"


def _assigned(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        if not isinstance(node, (*_FUNCTIONS, *_COMPREHENSIONS, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(node))
    by_functions = {
        name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names
    }
    return names - by_functions


def _exported(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value
