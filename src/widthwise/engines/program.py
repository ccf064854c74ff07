"""A forward pass for all replicas, read from the torch.fx graph of one network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from widthwise.engines.draws import Draws
from widthwise.engines.function_rules import FUNCTION_RULES, IN_PLACE
from widthwise.engines.layer_rules import LAYER_RULES
from widthwise.engines.modules import WITHOUT_GRADIENT, NotPackableError, aliases, copied, trace
from widthwise.engines.rewriting import fuse_pooling, layer_of, pool_before_relu
from widthwise.engines.values import PerReplica, Run


@dataclass(frozen=True)
class _Instruction:
    name: str
    apply: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    forget: tuple[str, ...]  # values that nothing needs after it


class Program:
    """The operations of one network's forward, each in its packed form.

    Attributes:
        instructions: in the order of the network's own forward.
    """

    def __init__(self, module: nn.Module) -> None:
        """Read ``module``, in the training or evaluation mode that each of its layers is in.

        Raises:
            NotPackableError: naming the layer or operation that has no packed form.
        """
        module = copied(module)
        graph = trace(module)
        for node in graph.nodes:
            _refuse_visible_overwriting(node, module)
        names = aliases(module)
        pool_before_relu(graph, module)
        fused = fuse_pooling(graph, module, names)
        last_use = _last_uses(graph)
        self._input, self._output = "", ""
        self.instructions: list[_Instruction] = []
        for node in graph.nodes:
            if node.op == "placeholder":
                self._input = node.name
            elif node.op == "output":
                if not isinstance(node.args[0], fx.Node):
                    raise NotPackableError("forward returns something else than one tensor")
                self._output = node.args[0].name
            else:
                apply = fused.get(node) or _read(node, module, names)
                if node.meta.get(WITHOUT_GRADIENT):
                    apply = torch.no_grad()(apply)
                forget = tuple(last_use.get(node.name, ()))
                self.instructions.append(
                    _Instruction(node.name, apply, node.args, dict(node.kwargs), forget)
                )

    def __call__(
        self,
        tensors: dict[str, Tensor],
        inputs: Tensor,
        draws: Draws | None = None,
        *,
        shared: bool = False,
    ) -> Tensor:
        """Every replica's logits.

        Args:
            tensors: parameters and buffers, (R, …); running statistics are changed in place.
            inputs: (R, B, *shape), or with ``shared`` (n, *shape): the same for every replica.
            draws: dropout's, in training.
            shared: see inputs.

        Returns:
            (R, B, classes).

        Raises:
            NotPackableError: if a shape turns out to have no packed form.
        """
        replicas = next(iter(tensors.values())).shape[0]
        if shared:
            first = inputs.unsqueeze(1).expand(-1, replicas, *[-1] * (inputs.ndim - 1))
        else:
            first = inputs.transpose(0, 1)
        run = Run(tensors, draws)
        values: dict[str, Any] = {self._input: first}
        for instruction in self.instructions:
            args = fx.node.map_arg(instruction.args, lambda node: values[node.name])
            kwargs = fx.node.map_arg(instruction.kwargs, lambda node: values[node.name])
            try:
                values[instruction.name] = instruction.apply(run, *args, **kwargs)
            except NotPackableError as error:
                raise NotPackableError(f"operation {instruction.name!r}: {error}") from None
            for name in instruction.forget:
                del values[name]
        output = values[self._output]
        if not isinstance(output, Tensor) or output.ndim != 3:
            raise NotPackableError("forward returns something else than (batch, classes)")
        return output.transpose(0, 1)


def _read(node: fx.Node, module: nn.Module, names: dict[str, str]) -> Callable[..., Any]:
    if node.op == "get_attr":
        target = str(node.target)
        if target not in names:
            raise NotPackableError(f"{target!r} is neither a parameter nor a buffer")
        return partial(_per_replica, names[target])
    if node.op == "call_module":
        path = str(node.target)
        layer = module.get_submodule(path)
        rule = LAYER_RULES.get(type(layer))
        what = f"layer {path!r} ({type(layer).__name__})"
        if rule is None:
            raise NotPackableError(f"{what} has no packed form")
        own = {
            kind: names[f"{path}.{kind}"]
            for kind, _ in [*layer.named_parameters(), *layer.named_buffers()]
        }
        try:
            return rule(layer, own)
        except NotPackableError as error:
            raise NotPackableError(f"{what} has no packed form: {error}") from None
    if node.target not in FUNCTION_RULES:
        raise NotPackableError(f"operation {node.name!r} has no packed form")
    return FUNCTION_RULES[node.target]


def _per_replica(name: str, run: Run) -> PerReplica:
    return PerReplica(run.tensors[name])


def _refuse_visible_overwriting(node: fx.Node, module: nn.Module) -> None:
    """Operations in place are computed aside, which nobody can tell if nobody looks again."""
    layer = layer_of(node, module)
    overwrites = (
        node.target in IN_PLACE
        or bool(node.kwargs.get("inplace"))
        or bool(getattr(layer, "inplace", False))
        or (isinstance(node.target, str) and node.op == "call_method" and node.target[-1] == "_")
    )
    sources = node.all_input_nodes
    if overwrites and sources:
        source = node.args[0] if node.args else sources[0]
        if not isinstance(source, fx.Node):
            return
        if source.op == "placeholder" or len(source.users) > 1:
            raise NotPackableError(f"{node.name!r} overwrites a value that is used again")


def _last_uses(graph: fx.Graph) -> dict[str, Sequence[str]]:
    """Instruction → values that are used there for the last time."""
    seen: set[str] = set()
    last: dict[str, list[str]] = {}
    for node in reversed(graph.nodes):
        for used in node.all_input_nodes:
            if used.name not in seen:
                seen.add(used.name)
                if node.op != "output":
                    last.setdefault(node.name, []).append(used.name)
    return dict(last)
