"""Replicas of a dense chain: batched products, backward pass written out, update fused into it.

Operations of one step and replica, for layers n_in → n_out and batch B: 2·B·n_in·n_out for the
forward product, as many for the weight gradient and (but for the first layer) for the input
gradient. Bytes: the weights are read forward, read backward and read and written by the update,
16·n_in·n_out in float32 (24 with momentum's velocity). An ordinary loop also writes the gradient,
reads it back and walks the weights once more, and pays its per-operation overhead R times.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from widthwise.losses import loss_and_gradient
from widthwise.packing.activations import ActivationRule
from widthwise.packing.chain import ChainLayer, Dense
from widthwise.packing.fused_update import FusedUpdate
from widthwise.recipe import Recipe


class _PackedDense:
    """One dense layer of all replicas: weight (R, n_out, n_in), bias (R, 1, n_out)."""

    def __init__(self, layer: Dense, parameters: Sequence[dict[str, Tensor]]) -> None:
        self.path, self.multiplier = layer.path, layer.multiplier
        self.tensors = {"weight": torch.stack([p[f"{layer.path}.weight"] for p in parameters])}
        if layer.bias:
            biases = torch.stack([p[f"{layer.path}.bias"] for p in parameters])
            self.tensors["bias"] = biases.unsqueeze(1)
        self.velocities: dict[str, Tensor] = {}
        self._bind()

    def start_velocities(self) -> None:
        self.velocities = {name: torch.zeros_like(t) for name, t in self.tensors.items()}

    def keep(self, index: Tensor) -> None:
        self.tensors = {name: t.index_select(0, index) for name, t in self.tensors.items()}
        self.velocities = {name: t.index_select(0, index) for name, t in self.velocities.items()}
        self._bind()

    def _bind(self) -> None:
        self.weight = self.tensors["weight"]
        self.bias = self.tensors.get("bias")
        self.weight_t = self.weight.transpose(1, 2)


class _Workspace:
    """Outputs and their gradients for one batch size, so that a step allocates nothing large."""

    def __init__(self, dense: Sequence[_PackedDense], batch_size: int) -> None:
        shapes = [(d.weight.shape[0], batch_size, d.weight.shape[1]) for d in dense]
        like = dense[0].weight
        self.outputs = [like.new_empty(shape) for shape in shapes]
        self.gradients = [like.new_empty(shape) for shape in shapes]


class ChainPack:
    """See :class:`widthwise.packing.base.Pack`."""

    engine = "chain"

    @torch.inference_mode()
    def __init__(
        self,
        layers: Sequence[ChainLayer],
        modules: Sequence[nn.Module],
        learning_rates: Tensor,
        momenta: Tensor,
        recipe: Recipe,
    ) -> None:
        parameters = [
            {name: p.detach() for name, p in module.named_parameters()} for module in modules
        ]
        self.reason = "a chain of dense layers and activations"
        self._dense = [_PackedDense(la, parameters) for la in layers if isinstance(la, Dense)]
        self._activations: list[ActivationRule | None] = []
        for layer in layers:
            if isinstance(layer, Dense):
                self._activations.append(None)
            else:
                self._activations[-1] = layer
        self._recipe = recipe
        like = self._dense[0].weight
        self._set_update(learning_rates.to(like).view(-1, 1, 1), momenta.to(like).view(-1, 1, 1))
        if self._update.has_momentum:
            for dense in self._dense:
                dense.start_velocities()

    @property
    def num_replicas(self) -> int:
        return self._update.learning_rates.shape[0]

    @torch.inference_mode()
    def step(
        self,
        inputs: Tensor,
        targets: Tensor,
        losses: Tensor,
        *,
        number: int = 0,
        rate_factor: float | Tensor = 1.0,
    ) -> None:
        batch_size = inputs.shape[1]
        work = self._workspaces.get(batch_size)
        if work is None:
            work = self._workspaces[batch_size] = _Workspace(self._dense, batch_size)
        inputs = inputs.view(inputs.shape[0], batch_size, -1)
        fed = [inputs]  # what each layer was fed
        saved: list[Tensor] = []  # what each activation's derivative needs
        for dense, activation, out in zip(
            self._dense, self._activations, work.outputs, strict=True
        ):
            _product(dense, fed[-1], out)
            if activation is None:
                saved.append(out)
                fed.append(out)
            else:
                activated = activation.forward(out)
                saved.append(out if activation.saves_input else activated)
                fed.append(activated)

        gradient = loss_and_gradient(fed[-1], targets, losses, self._recipe)
        # Every replica's −ε/B once here: all that follows is linear in it, so each weight gradient
        # below arrives as the step to be added.
        gradient.mul_(self._update.scale(batch_size, rate_factor))
        for i in range(len(self._dense) - 1, -1, -1):
            dense, fed_in = self._dense[i], fed[i]
            if i > 0:
                down = work.gradients[i - 1]
                # Before the update: the gradient belongs to the weights that made the output.
                torch.baddbmm(
                    down, gradient, dense.weight, beta=0, alpha=dense.multiplier, out=down
                )
            self._update_layer(dense, gradient, fed_in, rate_factor)
            if i > 0:
                activation = self._activations[i - 1]
                gradient = down if activation is None else activation.backward(down, saved[i - 1])

    def _update_layer(
        self, dense: _PackedDense, gradient: Tensor, fed_in: Tensor, rate_factor: float | Tensor
    ) -> None:
        transposed, multiplier = gradient.transpose(1, 2), dense.multiplier

        def add_weight_gradient(target: Tensor, beta: float) -> None:
            target.baddbmm_(transposed, fed_in, beta=beta, alpha=multiplier)

        def add_bias_gradient(target: Tensor, beta: float) -> None:
            if beta != 1.0:
                target.mul_(beta)
            target.add_(gradient.sum(1, keepdim=True))

        velocities, update = dense.velocities, self._update
        update(dense.weight, velocities.get("weight"), add_weight_gradient, rate_factor)
        if dense.bias is not None:
            update(dense.bias, velocities.get("bias"), add_bias_gradient, rate_factor)

    @torch.inference_mode()
    def logits(self, inputs: Tensor) -> Tensor:
        flat = inputs.reshape(inputs.shape[0], -1)
        first, *others = self._dense
        replicas, width, _ = first.weight.shape
        # All replicas see the same examples: one product with their weights side by side.
        stacked = first.weight.reshape(replicas * width, -1).t()
        if first.bias is None:
            out = torch.mm(flat, stacked).mul_(first.multiplier)
        else:
            out = torch.addmm(first.bias.reshape(-1), flat, stacked, alpha=first.multiplier)
        out = out.view(-1, replicas, width).transpose(0, 1)
        for dense, activation in zip(others, self._activations, strict=False):
            if activation is not None:
                out = activation.forward(out)
            result = out.new_empty((replicas, flat.shape[0], dense.weight.shape[1]))
            _product(dense, out, result)
            out = result
        return out

    @torch.inference_mode()
    def keep(self, replicas: Sequence[int]) -> None:
        index = torch.as_tensor(replicas, dtype=torch.int64)
        for dense in self._dense:
            dense.keep(index)
        update = self._update
        self._set_update(
            update.learning_rates.index_select(0, index), update.momenta.index_select(0, index)
        )

    def parameters(self, replica: int) -> dict[str, Tensor]:
        return {
            f"{dense.path}.{name}": tensor[replica]
            .reshape(tensor.shape[1:] if name == "weight" else -1)
            .clone()
            for dense in self._dense
            for name, tensor in dense.tensors.items()
        }

    def buffers(self, replica: int) -> dict[str, Tensor]:
        return {}  # what has buffers is no chain

    def state(self) -> dict[str, Tensor]:
        return {
            f"{kind}/{dense.path}/{name}": tensor
            for dense in self._dense
            for kind, tensors in (("tensors", dense.tensors), ("velocities", dense.velocities))
            for name, tensor in tensors.items()
        }

    @torch.inference_mode()
    def restore(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def _set_update(self, learning_rates: Tensor, momenta: Tensor) -> None:
        self._update = FusedUpdate(learning_rates, momenta, self._recipe)
        self._workspaces: dict[int, _Workspace] = {}


def _product(dense: _PackedDense, inputs: Tensor, out: Tensor) -> None:
    if dense.bias is None:
        torch.baddbmm(out, inputs, dense.weight_t, beta=0, alpha=dense.multiplier, out=out)
    else:
        torch.baddbmm(dense.bias, inputs, dense.weight_t, alpha=dense.multiplier, out=out)
