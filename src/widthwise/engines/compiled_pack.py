"""Chains of dense layers, one run at a time, a whole chunk of steps in one call of C.

The runs of such a pack share nothing but the call that hands them out: each is computed alone, in
an order that its batch size and the numbers of its steps fix. So its bits are the same in any
company, for any cut into whole blocks, and with every instruction set. ``compiled/dense.c`` says
how.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from widthwise.engines.activations import GELU, RELU, SIGMOID, SILU, TANH, ActivationRule
from widthwise.engines.chain import ChainLayer, Dense
from widthwise.engines.compiled.library import (
    ACTIVATIONS,
    LOSSES,
    Functions,
    Layer,
    Network,
    functions,
)
from widthwise.engines.modules import NotPackableError
from widthwise.errors import InputError
from widthwise.sgd.recipe import Recipe

_PANEL = 16
# Reals between a layer's weights and their velocities, so that both are not at the same place of a
# page, where a processor takes a load for one that waits for a store.
_APART = 544

_NAMES: dict[ActivationRule | None, str] = {
    None: "none",
    RELU: "relu",
    TANH: "tanh",
    SIGMOID: "sigmoid",
    SILU: "silu",
    GELU["none"]: "gelu",
    GELU["tanh"]: "gelu-tanh",
}


def require_compiled(module: nn.Module, recipe: Recipe) -> torch.dtype:
    """The type in which a module's parameters all are, if it has compiled code for it.

    Raises:
        NotPackableError: if there is none.
    """
    kinds = {(p.dtype, p.device.type) for p in module.parameters()}
    if len(kinds) != 1:
        raise NotPackableError("parameters are of different types or on different devices")
    ((dtype, device),) = kinds
    if device != "cpu" or recipe.precision != "float32":
        raise NotPackableError("compiled code computes on CPUs and in the parameters' own type")
    functions(dtype)
    return dtype


class CompiledPack:
    """See :class:`widthwise.engines.base.Pack`.

    Raises:
        NotPackableError: if there is no library that serves this processor, or parameters, device,
            precision or an activation are none of its.
    """

    engine = "compiled"
    host_work: str | None = None
    steps_of_block = _PANEL

    def __init__(
        self,
        layers: Sequence[ChainLayer],
        modules: Sequence[nn.Module],
        learning_rates: Tensor,
        momenta: Tensor,
        recipe: Recipe,
    ) -> None:
        parameters = [dict(module.named_parameters()) for module in modules]
        self._dtype = require_compiled(modules[0], recipe)
        self._functions: Functions = functions(self._dtype)
        self.reason = (
            "a chain of dense layers and activations; "
            f"instructions: {self._functions.instruction_set}"
        )
        shapes = _shapes(layers, parameters[0])
        self._num_inputs, self._num_classes = shapes[0].inputs, shapes[-1].outputs
        self._runs = [
            _Run(shapes, own, dict(module.named_buffers()), float(rate), float(momentum), recipe)
            for module, own, rate, momentum in zip(
                modules, parameters, learning_rates, momenta, strict=True
            )
        ]

    @property
    def num_replicas(self) -> int:
        return len(self._runs)

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
        indices = torch.arange(self.num_replicas * batch_size).view(-1, 1, batch_size)
        self.train_steps(
            inputs.flatten(0, 1),
            targets.reshape(-1),
            indices,
            losses.unsqueeze(0),
            first_number=number,
            rate_factors=torch.as_tensor(rate_factor, dtype=torch.float64).reshape(1),
        )

    def train_steps(
        self,
        inputs: Tensor,
        labels: Tensor,
        indices: Tensor,
        losses: Tensor,
        *,
        first_number: int,
        rate_factors: Tensor,
    ) -> None:
        """See :class:`widthwise.engines.base.TrainsChunks`."""
        _, num_steps, batch_size = indices.shape
        flat = self._flat(inputs)
        labels, indices = labels.contiguous(), indices.contiguous()
        factors = rate_factors.to(torch.float64).contiguous()
        self._check(flat, labels, indices, losses, factors)
        out = losses if losses.stride(1) == 1 else torch.empty_like(losses).contiguous()
        for r, run in enumerate(self._runs):
            _require_memory(
                self._functions.train(
                    run.network,
                    flat.data_ptr(),
                    labels.data_ptr(),
                    indices[r].data_ptr(),
                    first_number,
                    num_steps,
                    batch_size,
                    factors.data_ptr(),
                    out[:, r].data_ptr(),
                    out.stride(0),
                )
            )
        if out is not losses:
            losses.copy_(out)

    def _check(
        self, inputs: Tensor, labels: Tensor, indices: Tensor, losses: Tensor, factors: Tensor
    ) -> None:
        """What C takes for granted."""
        runs, num_steps, _ = indices.shape
        if losses.dtype != self._dtype or losses.shape != (num_steps, runs):
            raise InputError(
                f"losses must be {(num_steps, runs)} of {self._dtype}, got "
                f"{tuple(losses.shape)} of {losses.dtype}"
            )
        if runs != self.num_replicas or len(factors) != num_steps or len(labels) != len(inputs):
            raise InputError(
                f"indices of {self.num_replicas} runs, one rate factor a step and one label an "
                f"input are needed: got {runs} runs, {len(factors)} factors for {num_steps} "
                f"steps, {len(labels)} labels for {len(inputs)} inputs"
            )
        _require_within("labels", labels, self._num_classes)
        _require_within("indices", indices, len(inputs))

    def logits(self, inputs: Tensor) -> Tensor:
        flat = self._flat(inputs)
        out = flat.new_empty((self.num_replicas, len(flat), self._num_classes))
        for run, own in zip(self._runs, out, strict=True):
            _require_memory(
                self._functions.logits(run.network, flat.data_ptr(), len(flat), own.data_ptr())
            )
        return out

    def evaluate(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`widthwise.engines.base.TrainsChunks`."""
        flat, labels = self._flat(inputs), labels.contiguous()
        if len(labels) != len(flat):
            raise InputError(f"one label an input is needed: got {len(labels)} for {len(flat)}")
        _require_within("labels", labels, self._num_classes)
        loss = torch.empty(self.num_replicas, dtype=torch.float64)
        correct = torch.empty(self.num_replicas, dtype=torch.int64)
        for r, run in enumerate(self._runs):
            _require_memory(
                self._functions.evaluate(
                    run.network,
                    flat.data_ptr(),
                    labels.data_ptr(),
                    len(flat),
                    loss[r:].data_ptr(),
                    correct[r:].data_ptr(),
                )
            )
        return loss, correct

    def _flat(self, inputs: Tensor) -> Tensor:
        flat = inputs.reshape(len(inputs), -1).contiguous()
        if flat.dtype != self._dtype or flat.shape[1] != self._num_inputs:
            raise InputError(
                f"inputs must be {self._num_inputs} numbers of {self._dtype} each, got "
                f"{tuple(flat.shape)} of {flat.dtype}"
            )
        return flat

    def keep(self, replicas: Sequence[int]) -> None:
        self._runs = [self._runs[i] for i in replicas]

    def parameters(self, replica: int) -> dict[str, Tensor]:
        return self._runs[replica].parameters()

    def buffers(self, replica: int) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self._runs[replica].buffers.items()}

    def velocities(self, replica: int) -> dict[str, Tensor]:
        return self._runs[replica].velocities()

    def state(self) -> dict[str, Tensor]:
        """Parameters and velocities in the modules' own shapes, (R, …)."""
        own = [run.state() for run in self._runs]
        return {name: torch.stack([state[name] for state in own]) for name in own[0]}

    def restore(self, state: dict[str, Tensor]) -> None:
        for r, run in enumerate(self._runs):
            run.restore({name: tensor[r] for name, tensor in state.items()})


def _require_within(what: str, numbers: Tensor, limit: int) -> None:
    """In [0, limit), which C takes for granted."""
    if numbers.dtype != torch.int64:
        raise InputError(f"{what} must be int64, got {numbers.dtype}")
    if numbers.numel() == 0:
        return
    low, high = (int(bound) for bound in torch.aminmax(numbers))
    if low < 0 or high >= limit:
        raise InputError(f"{what} must lie in [0, {limit}), got {low} to {high}")


def _require_memory(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for the outputs of a few examples")


class _Shape:
    """One dense layer without its numbers."""

    def __init__(self, dense: Dense, activation: ActivationRule | None, weight: Tensor) -> None:
        if activation not in _NAMES:
            raise NotPackableError("an activation has no compiled form")
        self.path, self.multiplier, self.bias = dense.path, dense.multiplier, dense.bias
        self.outputs, self.inputs = weight.shape
        self.activation = ACTIVATIONS.index(_NAMES[activation])
        self.panels = -(-self.outputs // _PANEL)
        self.rows = -(-self.inputs // _PANEL) * _PANEL


def _shapes(layers: Sequence[ChainLayer], parameters: Mapping[str, Tensor]) -> list[_Shape]:
    following = [*layers[1:], None]
    return [
        _Shape(
            layer,
            after if isinstance(after, ActivationRule) else None,
            parameters[f"{layer.path}.weight"],
        )
        for layer, after in zip(layers, following, strict=True)
        if isinstance(layer, Dense)
    ]


class _Run:
    """One run's numbers as C reads them.

    Attributes:
        network: ``struct network`` of dense.h; it points into tensors that the run owns.
        buffers: of the module; nothing here reads them.
    """

    def __init__(
        self,
        shapes: Sequence[_Shape],
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        learning_rate: float,
        momentum: float,
        recipe: Recipe,
    ) -> None:
        self._shapes = shapes
        self.buffers = {name: buffer.detach().clone() for name, buffer in buffers.items()}
        moving = momentum != 0 or recipe.weight_decay != 0
        self._tensors: dict[str, Tensor] = {}  # padded, see dense.h
        like = next(iter(parameters.values())).detach()
        for shape in shapes:
            panel = (shape.panels, shape.rows, _PANEL)
            self._lay_out(f"{shape.path}.weight", panel, like, moving)
            if shape.bias:
                self._lay_out(f"{shape.path}.bias", (shape.panels, 1, _PANEL), like, moving)
        for name in self._names():
            self._write(f"tensors/{name}", parameters[name].detach())
        self._layers = (Layer * len(shapes))(*(self._layer(shape) for shape in shapes))
        self.network = Network(
            len(shapes),
            self._layers,
            LOSSES.index(recipe.loss),
            recipe.label_smoothing,
            learning_rate,
            momentum,
            recipe.weight_decay,
            recipe.nesterov,
        )

    def _lay_out(self, name: str, shape: tuple[int, ...], like: Tensor, moving: bool) -> None:
        count = shape[0] * shape[1] * shape[2]
        memory = like.new_zeros(2 * count + _APART if moving else count)
        self._tensors[f"tensors/{name}"] = memory[:count].view(shape)
        if moving:
            self._tensors[f"velocities/{name}"] = memory[count + _APART :].view(shape)

    def _layer(self, shape: _Shape) -> Layer:
        def address(kind: str, name: str) -> int | None:
            tensor = self._tensors.get(f"{kind}/{shape.path}.{name}")
            return None if tensor is None else tensor.data_ptr()

        return Layer(
            shape.inputs,
            shape.outputs,
            shape.activation,
            shape.multiplier,
            address("tensors", "weight"),
            address("velocities", "weight"),
            address("tensors", "bias"),
            address("velocities", "bias"),
        )

    def _names(self) -> list[str]:
        return [name.partition("/")[2] for name in self._tensors if name.startswith("tensors/")]

    def parameters(self) -> dict[str, Tensor]:
        return {name: self._read("tensors", name) for name in self._names()}

    def velocities(self) -> dict[str, Tensor]:
        """Empty without momentum: with weight decay alone they are the gradients of a step."""
        if self.network.momentum == 0:
            return {}
        return {name: self._read("velocities", name) for name in self._names()}

    def state(self) -> dict[str, Tensor]:
        """Velocities of a run without any are zero."""
        return {
            f"{kind}/{name}": self._read(kind, name)
            for kind in ("tensors", "velocities")
            for name in self._names()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        for key in self._tensors:
            self._write(key, state[key])

    def _size(self, name: str) -> tuple[int, int]:
        """(outputs, inputs) of the layer's weight, (outputs, 1) of a bias."""
        path, _, kind = name.rpartition(".")
        (shape,) = (shape for shape in self._shapes if shape.path == path)
        return shape.outputs, shape.inputs if kind == "weight" else 1

    def _read(self, kind: str, name: str) -> Tensor:
        outputs, inputs = self._size(name)
        tensor = self._tensors.get(f"{kind}/{name}")
        shape = (outputs, inputs) if name.endswith("weight") else (outputs,)
        if tensor is None:
            return self._tensors[f"tensors/{name}"].new_zeros(shape)
        panels, rows, lanes = tensor.shape
        whole = tensor.transpose(1, 2).reshape(panels * lanes, rows)
        return whole[:outputs, :inputs].reshape(shape).clone()

    def _write(self, key: str, values: Tensor) -> None:
        outputs, inputs = self._size(key.partition("/")[2])
        tensor = self._tensors[key]
        panels, rows, lanes = tensor.shape
        whole = tensor.new_zeros((panels * lanes, rows))
        whole[:outputs, :inputs] = values.reshape(outputs, inputs)
        tensor.copy_(whole.view(panels, lanes, rows).transpose(1, 2))
