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

from widthwise.packing.activations import ActivationRule
from widthwise.packing.chain import ChainLayer, Dense


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
        self.picked = like.new_empty((shapes[0][0], batch_size, 1))
        self.minus_one = like.new_full((1, 1, 1), -1.0).expand_as(self.picked)


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
        dtype = self._dense[0].weight.dtype
        self._learning_rates = learning_rates.to(dtype).view(-1, 1, 1).clone()
        self._momenta = momenta.to(dtype).view(-1, 1, 1).clone()
        if bool((self._momenta != 0).any()):
            for dense in self._dense:
                dense.start_velocities()
        self._set_rates()

    @property
    def num_replicas(self) -> int:
        return self._learning_rates.shape[0]

    @torch.inference_mode()
    def step(self, inputs: Tensor, targets: Tensor, losses: Tensor) -> None:
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

        log_probabilities = torch.log_softmax(fed[-1], 2)
        classes = targets.unsqueeze(2)
        torch.gather(log_probabilities, 2, classes, out=work.picked)
        torch.mean(work.picked, (1, 2), out=losses)
        losses.neg_()
        gradient = log_probabilities.exp_()
        gradient.scatter_add_(2, classes, work.minus_one)
        # The loss's 1/B and every replica's −ε once here: all that follows is linear in it, so
        # each weight gradient below arrives as the step to be added.
        gradient.mul_(self._step_scale(batch_size))
        for i in range(len(self._dense) - 1, -1, -1):
            dense, fed_in = self._dense[i], fed[i]
            if i > 0:
                down = work.gradients[i - 1]
                # Before the update: the gradient belongs to the weights that made the output.
                torch.baddbmm(
                    down, gradient, dense.weight, beta=0, alpha=dense.multiplier, out=down
                )
            self._update(dense, gradient, fed_in)
            if i > 0:
                activation = self._activations[i - 1]
                gradient = down if activation is None else activation.backward(down, saved[i - 1])

    def _update(self, dense: _PackedDense, gradient: Tensor, fed_in: Tensor) -> None:
        transposed, scale = gradient.transpose(1, 2), dense.multiplier
        if not dense.velocities:
            dense.weight.baddbmm_(transposed, fed_in, alpha=scale)
            if dense.bias is not None:
                dense.bias.add_(gradient.sum(1, keepdim=True))
            return
        velocity = dense.velocities["weight"]  # −ε v
        if self._common_momentum is None:
            velocity.mul_(self._momenta)
            velocity.baddbmm_(transposed, fed_in, alpha=scale)
        else:
            velocity.baddbmm_(transposed, fed_in, beta=self._common_momentum, alpha=scale)
        dense.weight.add_(velocity)
        if dense.bias is not None:
            velocity = dense.velocities["bias"]
            velocity.mul_(self._momenta).add_(gradient.sum(1, keepdim=True))
            dense.bias.add_(velocity)

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
        self._learning_rates = self._learning_rates.index_select(0, index)
        self._momenta = self._momenta.index_select(0, index)
        self._set_rates()

    def parameters(self, replica: int) -> dict[str, Tensor]:
        return {
            f"{dense.path}.{name}": tensor[replica]
            .reshape(tensor.shape[1:] if name == "weight" else -1)
            .clone()
            for dense in self._dense
            for name, tensor in dense.tensors.items()
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

    def _set_rates(self) -> None:
        self._workspaces: dict[int, _Workspace] = {}
        self._scales: dict[int, Tensor] = {}
        values = {float(m) for m in self._momenta.view(-1)}
        self._common_momentum = values.pop() if len(values) == 1 else None

    def _step_scale(self, batch_size: int) -> Tensor:
        if batch_size not in self._scales:
            self._scales[batch_size] = self._learning_rates / -batch_size
        return self._scales[batch_size]


def _product(dense: _PackedDense, inputs: Tensor, out: Tensor) -> None:
    if dense.bias is None:
        torch.baddbmm(out, inputs, dense.weight_t, beta=0, alpha=dense.multiplier, out=out)
    else:
        torch.baddbmm(dense.bias, inputs, dense.weight_t, alpha=dense.multiplier, out=out)
