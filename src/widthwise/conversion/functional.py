"""Parameters that a forward uses itself, past the layer whose multiplier would go with them."""

import ast
import inspect
import textwrap
from collections.abc import Collection, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import fx, nn

from widthwise.errors import InputError

# What is asked of a tensor without using its values: attributes, methods, and functions of which it
# is an argument that only says what the result is like.
_ABOUT = {
    *("shape", "dtype", "device", "ndim", "requires_grad", "is_cuda", "layout", "names"),
    *("size", "dim", "numel", "stride", "type", "is_floating_point", "get_device", "nelement"),
    *("new_zeros", "new_ones", "new_full", "new_empty", "new_tensor", "element_size"),
}
_LIKE = {"to", "type_as", "zeros_like", "ones_like", "empty_like", "full_like", "rand_like"}
_LIKE |= {"randn_like", "is_tensor", "isinstance", "len"}


def refuse_functional_use(module: nn.Module, names: Collection[str]) -> None:
    """Make sure that these parameters enter only through the forward of their own layer.

    A forward that says ``F.linear(x, self.layer.weight)`` uses values that are rescaled without the
    multiplier that makes up for it. Both what is written in the forwards of the user's classes and
    what runs when they are traced is looked at; the module is not changed.

    Raises:
        InputError: naming the parameter.
    """
    own = [child for child in module.modules() if _is_the_users(child)]
    if not own or not names:
        return
    found = _written(module, own, names) or _traced(module, names)
    if found is not None:
        raise InputError(
            "parameters that a conversion rescales must be used by their own layers only, but the "
            f"forward uses {found} itself, which would miss the layer's multiplier; call the layer "
            "instead, or leave the network in the form in which it is"
        )


def _is_the_users(module: nn.Module) -> bool:
    return not type(module).__module__.startswith(("torch.nn.", "widthwise."))


def _traced(module: nn.Module, names: Collection[str]) -> str | None:
    """The parameter of which values are used in a trace; of what cannot be traced, the first place
    where a weight of an unknown layer is."""
    twin = deepcopy(module)
    tensors = {id(p): name for name, p in twin.named_parameters()}
    try:
        with torch.random.fork_rng(devices=[]):
            graph = _Tracer().trace(twin)
    except Exception:  # whatever a forward does to a stand-in for a tensor
        return next((use for child in module.modules() for use in _unknown(child)), None)
    for node in graph.nodes:
        if node.op == "get_attr" and any(_uses_values(user, node) for user in node.users):
            used = {tensors.get(id(leaf), "") for leaf in _leaves(_resolve_path(twin, node.target))}
            for name in sorted(used.intersection(names)):
                return repr(name)
    return None


def _resolve_path(module: nn.Module, target: object) -> Any:
    found: Any = module
    for part in str(target).split("."):
        found = getattr(found, part, None)
    return found


def _leaves(tensor: Any) -> Iterator[torch.Tensor]:
    """The parameters from which a tensor was computed; a parameter is its own."""
    if isinstance(tensor, nn.Parameter):
        yield tensor
    waiting, seen = [getattr(tensor, "grad_fn", None)], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            if hasattr(node, "variable"):
                yield node.variable
            waiting += [following for following, _ in node.next_functions]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not _is_the_users(m)


def _uses_values(user: fx.Node, node: fx.Node) -> bool:
    name = user.target if isinstance(user.target, str) else getattr(user.target, "__name__", "")
    if name == "getattr":
        return user.args[1] not in _ABOUT
    if user.op == "call_method" and user.args[:1] == (node,):
        return name not in _ABOUT
    return name not in _LIKE


def _written(module: nn.Module, own: Collection[nn.Module], names: Collection[str]) -> str | None:
    """The parameter that a forward names, as in ``self.layer.weight``."""
    tensors = {id(p): name for name, p in module.named_parameters()}
    for child in own:
        for place, me in _places(child):
            parameter = _resolve(child, place, me)
            if isinstance(parameter, nn.Parameter) and tensors.get(id(parameter)) in names:
                return repr(tensors[id(parameter)])
    return None


def _unknown(module: nn.Module) -> Iterator[str]:
    """Weights in a forward, of layers that only running it would tell."""
    if _is_the_users(module):
        for place, me in _places(module):
            if _resolve(module, place, me) is None:
                yield f"{ast.unparse(place)!r} of {type(module).__name__}"


def _places(module: nn.Module) -> Iterator[tuple[ast.Attribute, str]]:
    """Where ``forward``, and the methods it calls, use the values of a weight or bias; and what the
    module is called there."""
    waiting, seen = ["forward"], {"forward"}
    while waiting:
        method = waiting.pop()
        for tree in [_source(owner.__dict__.get(method)) for owner in type(module).__mro__]:
            if tree is None or not tree.args.args:
                continue
            parents = {c: node for node in ast.walk(tree) for c in ast.iter_child_nodes(node)}
            for node in ast.walk(tree):
                if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
                    continue
                if isinstance(node.value, ast.Name) and node.attr not in seen:
                    seen.add(node.attr)
                    waiting.append(node.attr)
                if node.attr in ("weight", "bias") and _values_are_used(node, parents):
                    yield node, tree.args.args[0].arg


def _values_are_used(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    parent = parents.get(node)
    if isinstance(parent, ast.Attribute):
        return parent.attr not in _ABOUT
    if isinstance(parent, ast.Compare):
        return not all(isinstance(op, ast.Is | ast.IsNot) for op in parent.ops)
    if isinstance(parent, ast.Call):
        function = parent.func
        return (function.attr if isinstance(function, ast.Attribute) else _name(function)) not in (
            _LIKE
        )
    return True


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _resolve(module: nn.Module, node: ast.expr, me: str) -> Any:
    """What an expression such as ``self.blocks[0].weight`` is; None if only running tells."""
    if isinstance(node, ast.Name):
        return module if node.id == me else None
    if isinstance(node, ast.Attribute):
        return getattr(_resolve(module, node.value, me), node.attr, None)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        try:
            return _resolve(module, node.value, me)[node.slice.value]
        except (TypeError, KeyError, IndexError):
            return None
    return None


def _source(function: object) -> ast.FunctionDef | None:
    """Parsed; None of what is no function of the user's, or cannot be read."""
    if not inspect.isfunction(function) or (function.__module__ or "").startswith("torch."):
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None
    first = tree.body[0] if tree.body else None
    return first if isinstance(first, ast.FunctionDef) else None
