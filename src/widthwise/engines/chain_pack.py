"""Replicas of a dense chain: batched products, backward pass written out, update fused into it.

Operations of one step and replica, for layers n_in → n_out and batch B: 2·B·n_in·n_out for the
forward product, as many for the weight gradient and (but for the first layer) for the input
gradient. Bytes: the weights are read forward, read backward and read and written by the update,
16·n_in·n_out in float32 (24 with momentum's velocity). An ordinary loop also writes the gradient,
reads it back and walks the weights once more, and pays its per-operation overhead R times.

With ``precision = "bf16"`` the products have operands rounded to bfloat16. The operations are the
same. The weights that are trained, biases, velocities and losses stay in float32, because bfloat16
has 8 significant bits: a step below 1/512 of a weight would be rounded away. On a CPU with AMX
nothing else changes: its products round what they read, add up in float32 and add the weight
gradient to the weights in one go, so the bytes are those of float32. Other devices have no such
product: there a bfloat16 copy of the weights, activations and their gradients are multiplied, and
the weight gradient is stored after all: 4·n_in·n_out bytes for reading the copy forward and
backward, 4 for the gradient written and read, 8 for the update and 6 for the new copy, together
22·n_in·n_out against 16, and with momentum 16 more against 8 more; activations are half as many
bytes. (With AMX the copies took 1.2 to 2.0 times as long as products that round.)
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from widthwise.engines.activations import ActivationRule
from widthwise.engines.chain import ChainLayer, Dense
from widthwise.engines.update import FusedUpdate
from widthwise.hardware import rounded_products, rounds_products
from widthwise.sgd.losses import loss_and_gradient
from widthwise.sgd.recipe import Recipe


class _Operands(NamedTuple):
    """What a layer multiplies with and adds: weight (R, n_out, n_in), bias (R, 1, n_out)."""

    weight: Tensor
    weight_t: Tensor
    bias: Tensor | None
    multiplier: float


class _PackedDense:
    """One dense layer of all replicas.

    Attributes:
        weight, bias: what is trained and evaluated, (R, n_out, n_in) and (R, 1, n_out).
        exact: they as operands.
        operands: those of training; here the same.
    """

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
        self.exact = self.operands = self._operands(self.weight, self.bias)

    def _operands(self, weight: Tensor, bias: Tensor | None) -> _Operands:
        return _Operands(weight, weight.transpose(1, 2), bias, self.multiplier)

    def add_weight_gradient(
        self, target: Tensor, beta: float, gradient: Tensor, fed_in: Tensor
    ) -> None:
        """target ← beta · target + multiplier · gradientᵀ · fed_in."""
        target.baddbmm_(gradient.transpose(1, 2), fed_in, beta=beta, alpha=self.multiplier)


class _CopiedDense(_PackedDense):
    """The same, with copies in bfloat16 to multiply: see the top of this module."""

    def _bind(self) -> None:
        super()._bind()
        bias = None if self.bias is None else self.bias.bfloat16()
        self.operands = self._operands(self.weight.bfloat16(), bias)
        self._product = torch.empty_like(self.operands.weight)

    def refresh(self) -> None:
        """To be called whenever the weights have changed."""
        self.operands.weight.copy_(self.weight)
        if self.bias is not None and self.operands.bias is not None:
            self.operands.bias.copy_(self.bias)

    def add_weight_gradient(
        self, target: Tensor, beta: float, gradient: Tensor, fed_in: Tensor
    ) -> None:
        torch.bmm(gradient.transpose(1, 2), fed_in, out=self._product)
        if beta != 1.0:
            target.mul_(beta)
        target.add_(self._product, alpha=self.multiplier)


class _Workspace:
    """Outputs and their gradients for one batch size, so that a step allocates nothing large."""

    def __init__(self, dense: Sequence[_PackedDense], batch_size: int) -> None:
        shapes = [(d.weight.shape[0], batch_size, d.weight.shape[1]) for d in dense]
        like = dense[0].operands.weight
        self.outputs = [like.new_empty(shape) for shape in shapes]
        self.gradients = [like.new_empty(shape) for shape in shapes]


def needs_copies(device: torch.device) -> bool:
    """Whether products in bfloat16 need operands in bfloat16 there."""
    return device.type != "cpu" or not rounds_products()


class ChainPack:
    """See :class:`widthwise.engines.base.Pack`."""

    engine = "chain"
    host_work: str | None = None

    @torch.inference_mode()
    def __init__(
        self,
        layers: Sequence[ChainLayer],
        modules: Sequence[nn.Module],
        learning_rates: Tensor,
        momenta: Tensor,
        recipe: Recipe,
        reason: str = "a chain of dense layers and activations",
    ) -> None:
        parameters = [
            {name: p.detach() for name, p in module.named_parameters()} for module in modules
        ]
        self.reason = reason
        bf16 = recipe.precision == "bf16"
        self._copies = bf16 and needs_copies(next(modules[0].parameters()).device)
        self._products = rounded_products if bf16 and not self._copies else nullcontext
        kind = _CopiedDense if self._copies else _PackedDense
        self._dense = [kind(layer, parameters) for layer in layers if isinstance(layer, Dense)]
        self._activations: list[ActivationRule | None] = []
        for layer in layers:
            if isinstance(layer, Dense):
                self._activations.append(None)
            else:
                self._activations[-1] = layer
        self._recipe = recipe
        # What has buffers that change is no chain.
        self._buffers = [
            {name: b.detach().clone() for name, b in module.named_buffers()} for module in modules
        ]
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
        with self._products():
            self._step(inputs, targets, losses, rate_factor)

    def _step(
        self, inputs: Tensor, targets: Tensor, losses: Tensor, rate_factor: float | Tensor
    ) -> None:
        batch_size = inputs.shape[1]
        work = self._workspaces.get(batch_size)
        if work is None:
            work = self._workspaces[batch_size] = _Workspace(self._dense, batch_size)
        inputs = inputs.view(inputs.shape[0], batch_size, -1)
        if self._copies:
            inputs = inputs.bfloat16()
        fed = [inputs]  # what each layer was fed
        saved: list[Tensor] = []  # what each activation's derivative needs
        for dense, activation, out in zip(
            self._dense, self._activations, work.outputs, strict=True
        ):
            _product(dense.operands, fed[-1], out)
            if activation is None:
                saved.append(out)
                fed.append(out)
            else:
                activated = activation.forward(out)
                saved.append(out if activation.saves_input else activated)
                fed.append(activated)

        logits = fed[-1].to(losses) if self._copies else fed[-1]
        gradient = loss_and_gradient(logits, targets, losses, self._recipe)
        # Every replica's −ε/B once here: all that follows is linear in it, so each weight gradient
        # below arrives as the step to be added.
        gradient.mul_(self._update.scale(batch_size, rate_factor))
        if self._copies:
            gradient = gradient.bfloat16()  # its exponents reach as far: nothing underflows
        for i in range(len(self._dense) - 1, -1, -1):
            dense, fed_in = self._dense[i], fed[i]
            if i > 0:
                down = work.gradients[i - 1]
                # Before the update: the gradient belongs to the weights that made the output.
                torch.baddbmm(
                    down, gradient, dense.operands.weight, beta=0, alpha=dense.multiplier, out=down
                )
            self._update_layer(dense, gradient, fed_in, rate_factor)
            if i > 0:
                activation = self._activations[i - 1]
                gradient = down if activation is None else activation.backward(down, saved[i - 1])
        if self._copies:
            self._refresh()

    def _refresh(self) -> None:
        for dense in self._dense:
            if isinstance(dense, _CopiedDense):
                dense.refresh()

    def _update_layer(
        self, dense: _PackedDense, gradient: Tensor, fed_in: Tensor, rate_factor: float | Tensor
    ) -> None:
        def add_weight_gradient(target: Tensor, beta: float) -> None:
            dense.add_weight_gradient(target, beta, gradient, fed_in)

        def add_bias_gradient(target: Tensor, beta: float) -> None:
            if beta != 1.0:
                target.mul_(beta)
            target.add_(gradient.sum(1, keepdim=True, dtype=target.dtype))

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
            _product(dense.exact, out, result)
            out = result
        return out

    @torch.inference_mode()
    def keep(self, replicas: Sequence[int]) -> None:
        index = torch.as_tensor(
            replicas, dtype=torch.int64, device=self._update.learning_rates.device
        )
        for dense in self._dense:
            dense.keep(index)
        self._buffers = [self._buffers[i] for i in replicas]
        update = self._update
        self._set_update(
            update.learning_rates.index_select(0, index), update.momenta.index_select(0, index)
        )

    def parameters(self, replica: int) -> dict[str, Tensor]:
        return self._named(replica, [dense.tensors for dense in self._dense])

    def buffers(self, replica: int) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self._buffers[replica].items()}

    def velocities(self, replica: int) -> dict[str, Tensor]:
        if self._update.momenta[replica] == 0:
            return {}
        own = self._named(replica, [dense.velocities for dense in self._dense])
        # Here a velocity holds −ε, see FusedUpdate.
        scale = -1.0 / float(self._update.learning_rates[replica])
        return {name: velocity.mul_(scale) for name, velocity in own.items()}

    def _named(self, replica: int, of_layers: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Copies of one replica's tensors, one dictionary a layer, as the module's are named."""
        return {
            f"{dense.path}.{name}": tensor[replica]
            .reshape(tensor.shape[1:] if name == "weight" else -1)
            .clone()
            for dense, tensors in zip(self._dense, of_layers, strict=True)
            for name, tensor in tensors.items()
        }

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
        self._refresh()

    def _set_update(self, learning_rates: Tensor, momenta: Tensor) -> None:
        self._update = FusedUpdate(learning_rates, momenta, self._recipe)
        self._workspaces: dict[int, _Workspace] = {}


def _product(layer: _Operands, inputs: Tensor, out: Tensor) -> None:
    """out ← multiplier · inputs · weightᵀ + bias."""
    _, weight_t, bias, multiplier = layer
    if bias is None:
        torch.baddbmm(out, inputs, weight_t, beta=0, alpha=multiplier, out=out)
    else:
        torch.baddbmm(bias, inputs, weight_t, alpha=multiplier, out=out)
