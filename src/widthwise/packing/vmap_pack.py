"""Replicas of any traceable module under ``torch.func.vmap``: general, slower than a chain."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional

from widthwise.errors import InputError


class VmapPack:
    """See :class:`widthwise.packing.base.Pack`."""

    engine = "vmap"

    def __init__(
        self,
        modules: Sequence[nn.Module],
        learning_rates: Tensor,
        momenta: Tensor,
        reason: str,
    ) -> None:
        refuse_unsupported(modules[0])
        self.reason = reason
        stacked, _ = stack_module_state(list(modules))
        frozen = {n for n, p in modules[0].named_parameters() if not p.requires_grad}
        self._tensors = {name: tensor.detach() for name, tensor in stacked.items()}
        self._trained = [name for name in self._tensors if name not in frozen]
        self._velocities = (
            {name: torch.zeros_like(self._tensors[name]) for name in self._trained}
            if bool((momenta != 0).any())
            else {}
        )
        dtype = next(iter(self._tensors.values())).dtype
        self._learning_rates, self._momenta = learning_rates.to(dtype), momenta.to(dtype)
        self._forward = _forward_of(deepcopy(modules[0]).to("meta"))

        def loss(trained: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor, y: Tensor):  # type: ignore[no-untyped-def]
            return functional.cross_entropy(self._forward({**trained, **fixed}, x), y)

        self._gradients = vmap(grad_and_value(loss))

    @property
    def num_replicas(self) -> int:
        return self._learning_rates.shape[0]

    def step(self, inputs: Tensor, targets: Tensor, losses: Tensor) -> None:
        trained = {name: self._tensors[name] for name in self._trained}
        fixed = {name: t for name, t in self._tensors.items() if name not in trained}
        gradients, values = self._gradients(trained, fixed, inputs, targets)
        losses.copy_(values)
        with torch.no_grad():
            for name, gradient in gradients.items():
                step = gradient.mul_(_column(-self._learning_rates, gradient))
                if self._velocities:
                    velocity = self._velocities[name]  # −ε v
                    step = velocity.mul_(_column(self._momenta, velocity)).add_(step)
                self._tensors[name].add_(step)

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        result: Tensor = vmap(self._forward, in_dims=(0, None))(self._tensors, inputs)
        return result

    @torch.no_grad()
    def keep(self, replicas: Sequence[int]) -> None:
        index = torch.as_tensor(replicas, dtype=torch.int64)
        self._tensors = {name: t.index_select(0, index) for name, t in self._tensors.items()}
        self._velocities = {name: t.index_select(0, index) for name, t in self._velocities.items()}
        self._learning_rates = self._learning_rates.index_select(0, index)
        self._momenta = self._momenta.index_select(0, index)

    def parameters(self, replica: int) -> dict[str, Tensor]:
        return {name: tensor[replica].clone() for name, tensor in self._tensors.items()}

    def state(self) -> dict[str, Tensor]:
        tensors = {f"tensors/{name}": tensor for name, tensor in self._tensors.items()}
        return tensors | {f"velocities/{name}": t for name, t in self._velocities.items()}

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


def refuse_unsupported(module: nn.Module) -> None:
    """Layers whose training needs more than parameters.

    Raises:
        InputError: naming the first layer that draws random numbers or keeps running statistics.
    """
    for path, child in module.named_modules():
        if isinstance(child, nn.modules.dropout._DropoutNd) and child.p > 0:
            raise InputError(
                f"layer {path!r} ({type(child).__name__}) draws random numbers, which packed "
                "training does not support yet; set its p to 0 or remove it"
            )
        if next(child.buffers(recurse=False), None) is not None:
            raise InputError(
                f"layer {path or type(module).__name__!r} ({type(child).__name__}) keeps buffers "
                "(such as running statistics), which packed training does not support yet; "
                "use a layer without them"
            )


def _forward_of(skeleton: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    def forward(tensors: dict[str, Tensor], inputs: Tensor) -> Tensor:
        output: Tensor = functional_call(skeleton, tensors, (inputs,))
        return output

    return forward


def _column(per_replica: Tensor, like: Tensor) -> Tensor:
    return per_replica.view(-1, *[1] * (like.ndim - 1))
