"""A pack whose backward pass is autograd's: over a program's forward, or over ``vmap``'s."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from widthwise.engines.draws import Draws
from widthwise.engines.modules import Stacked, laid_out
from widthwise.engines.update import Update
from widthwise.sgd.losses import loss_and_gradient
from widthwise.sgd.recipe import Recipe


class Forward(Protocol):
    """Stacked tensors and inputs → every replica's logits (R, B, classes)."""

    def __call__(
        self,
        tensors: dict[str, Tensor],
        inputs: Tensor,
        draws: Draws | None = None,
        *,
        shared: bool = False,
    ) -> Tensor: ...


class AutogradPack:
    """See :class:`widthwise.engines.base.Pack`."""

    def __init__(
        self,
        modules: Sequence[nn.Module],
        learning_rates: Tensor,
        momenta: Tensor,
        *,
        recipe: Recipe,
        seeds: Sequence[int],
        train: Forward,
        evaluate: Forward,
        engine: str,
        reason: str,
    ) -> None:
        self.engine, self.reason = engine, reason
        self._recipe, self._seeds = recipe, list(seeds)
        self._train, self._evaluate = train, evaluate
        self.host_work = _host_work(modules[0])
        self._stacked = Stacked(modules)
        parameters = self._stacked.parameters
        self._velocities = (
            {name: torch.zeros_like(parameters[name]) for name in self._stacked.trained}
            if bool((momenta != 0).any())
            else {}
        )
        like = parameters[self._stacked.trained[0]]
        self._set_update(learning_rates.to(like), momenta.to(like))

    @property
    def num_replicas(self) -> int:
        return len(self._seeds)

    def step(
        self,
        inputs: Tensor,
        targets: Tensor,
        losses: Tensor,
        *,
        number: int = 0,
        rate_factor: float | Tensor = 1.0,
    ) -> None:
        stacked = self._stacked
        trained = [stacked.parameters[name] for name in stacked.trained]
        with torch.enable_grad(), self._autocast(inputs):
            tensors = {**stacked.parameters, **stacked.buffers}
            draws = Draws(self._seeds, number)
            logits = self._train(tensors, inputs, draws)
        if draws.used:
            self.host_work = "masks of dropout are drawn on the CPU"
        with torch.no_grad():
            gradient = loss_and_gradient(logits.detach().to(losses), targets, losses, self._recipe)
            gradient.div_(targets.shape[1])
        with torch.enable_grad():
            # The same bits as with grad_outputs, for which PyTorch loads SymPy: half a second of
            # every process.
            total = (logits * gradient.to(logits)).sum()
        gradients = torch.autograd.grad(total, trained, allow_unused=True)
        named = dict(zip(stacked.trained, gradients, strict=True))
        self._update(stacked.parameters, named, self._velocities, rate_factor)

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        tensors = {**self._stacked.parameters, **self._stacked.buffers}
        return self._evaluate(tensors, inputs, shared=True)

    @torch.no_grad()
    def keep(self, replicas: Sequence[int]) -> None:
        update = self._update
        index = torch.as_tensor(replicas, device=update.momenta.device, dtype=torch.int64)
        self._stacked.keep(index)
        self._velocities = {
            name: laid_out(v.index_select(0, index)) for name, v in self._velocities.items()
        }
        self._seeds = [self._seeds[i] for i in replicas]
        self._set_update(
            update.learning_rates.index_select(0, index), update.momenta.index_select(0, index)
        )

    def parameters(self, replica: int) -> dict[str, Tensor]:
        return {n: p.detach()[replica].clone() for n, p in self._stacked.parameters.items()}

    def buffers(self, replica: int) -> dict[str, Tensor]:
        return {name: b[replica].clone() for name, b in self._stacked.buffers.items()}

    def velocities(self, replica: int) -> dict[str, Tensor]:
        if self._update.momenta[replica] == 0:
            return {}
        return {name: v[replica].clone() for name, v in self._velocities.items()}

    def state(self) -> dict[str, Tensor]:
        kinds = {
            "parameters": self._stacked.parameters,
            "buffers": self._stacked.buffers,
            "velocities": self._velocities,
        }
        return {
            f"{kind}/{name}": tensor.detach()
            for kind, tensors in kinds.items()
            for name, tensor in tensors.items()
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def _set_update(self, learning_rates: Tensor, momenta: Tensor) -> None:
        self._update = Update(
            learning_rates=learning_rates,
            momenta=momenta,
            weight_decay=self._recipe.weight_decay,
            nesterov=self._recipe.nesterov,
        )

    def _autocast(self, inputs: Tensor) -> torch.autocast:
        """Products in bfloat16 if the recipe says so; weights and their updates in float32."""
        enabled = self._recipe.precision == "bf16"
        return torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=enabled)


def _host_work(module: nn.Module) -> str | None:
    for path, layer in module.named_modules():
        averages = isinstance(layer, _BatchNorm) and layer.track_running_stats and layer.training
        if averages and layer.momentum is None:
            return f"layer {path!r} (momentum = None) reads its count of batches"
    return None
