"""What a run costs before it is run: operations and memory, counted on the module itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from widthwise.engines.chain import is_chain
from widthwise.engines.convolution import transformed_floats
from widthwise.errors import InputError, said_by
from widthwise.training.evaluation import evaluation_rows, largest_activation

# What a step of a pack takes beside its products, as operations that take as long: some thirty
# small operations, whatever the number of replicas. 50 to 100 µs of a core, at 30 to 60 operations
# a nanosecond: packs of eight MLPs of 16 to 128 units took 0.3 to 0.5 millions a replica.
STEP_OVERHEAD = 3e6
# The same where one run is trained at a time in compiled code: its weights pass through the
# core's cache. 2.3 and 7.7 µs a step at 16 and 64 units with one example (docs/performance.md).
ALONE_OVERHEAD, ALONE_OVERHEAD_A_PARAMETER = 2e4, 5.0


@dataclass(frozen=True, kw_only=True)
class ModuleCost:
    """Per replica and example, in float32.

    Attributes:
        num_parameters: floats in the parameters.
        parameter_bytes, buffer_bytes: of the module's parameters and buffers as they are.
        num_activations: floats that the layers put out.
        largest_activation: floats of the largest output of a layer with parameters.
        num_inputs: floats of one example.
        num_tiles, num_kernels: floats that wide convolutions keep in transformed form, an
            example and altogether (:mod:`widthwise.engines.winograd`).
        forward_flops: of a forward pass.
        training_flops: of a forward and backward pass.
        is_chain: dense layers and activations in a row, whose runs share nothing in a pack.
    """

    num_parameters: int
    parameter_bytes: int
    buffer_bytes: int
    num_activations: int
    largest_activation: int
    num_inputs: int
    num_tiles: int
    num_kernels: int
    forward_flops: float
    training_flops: float
    is_chain: bool

    def run_cost(self, steps: int, batch_size: int, *, replicas: int, evaluated: int) -> float:
        """What a run takes, in operations, as one of `replicas` in a pack.

        Its steps, its share of what each takes beside products, and the forward passes of
        `evaluated` examples, over all evaluations.
        """
        beside = (
            ALONE_OVERHEAD + ALONE_OVERHEAD_A_PARAMETER * self.num_parameters
            if self.is_chain
            else STEP_OVERHEAD / replicas
        )
        return steps * (batch_size * self.training_flops + beside) + evaluated * self.forward_flops

    def kept_bytes(self, *, momentum: bool) -> int:
        """Of the trained network with, if there is momentum, its velocities."""
        return self.parameter_bytes * (1 + momentum) + self.buffer_bytes

    def pack_bytes(self, batch_size: int, *, momentum: bool) -> int:
        """Memory of one replica in a pack: weights (with velocity, gradient and proof), batch,
        activations and their gradients, and what evaluation needs."""
        # Kernels and their gradients.
        weights = self.num_parameters * (3 + momentum) + 2 * self.num_kernels
        batch = batch_size * (self.num_inputs + 3 * self.num_activations + self.num_tiles)
        rows = evaluation_rows(self.largest_activation, self.num_parameters, 1)
        evaluation = rows * 2 * self.largest_activation
        return 4 * (weights + batch + evaluation)


def module_cost(module: nn.Module, inputs: Tensor, targets: Tensor) -> ModuleCost:
    """Count on a few examples: inputs (n, *shape), targets (n,).

    Raises:
        InputError: if the module's forward raises on these inputs, or returns no logits.
    """
    sizes: list[int] = []
    transformed = [(0, 0)]

    def note(child: nn.Module, args: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel())
            if isinstance(child, nn.Conv2d) and output.ndim == 4:
                transformed.append(transformed_floats(child, *output.shape[2:]))

    leaves = [m for m in module.modules() if not any(True for _ in m.children())]
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    try:
        with Operations() as forward, torch.enable_grad():
            loss = functional.cross_entropy(module(inputs), targets)
        with Operations() as backward:
            loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise InputError(
            f"the family's network must map inputs of shape {tuple(inputs.shape)} to class logits, "
            f"but it raised {said_by(error)}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        module.zero_grad(set_to_none=True)
    n = len(inputs)
    return ModuleCost(
        num_parameters=sum(p.numel() for p in module.parameters()),
        parameter_bytes=sum(p.nbytes for p in module.parameters()),
        buffer_bytes=sum(b.nbytes for b in module.buffers()),
        num_activations=sum(sizes) // n,
        largest_activation=largest_activation(module, inputs),
        num_inputs=inputs[0].numel(),
        num_tiles=sum(tiles for tiles, _ in transformed),
        num_kernels=sum(kernels for _, kernels in transformed),
        forward_flops=forward.total / n,
        training_flops=(forward.total + backward.total) / n,
        is_chain=is_chain(module),
    )


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts floating-point operations as ``torch.utils.flop_counter.FlopCounterMode`` does, by the
    same formulas, without importing TorchDynamo for it, which takes seconds.

    Attributes:
        total: so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """If it should, TorchDynamo would have to be imported."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:  # it may be made of operations that have one
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        return result
