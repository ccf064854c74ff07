"""Gradients of a module by example, or by small batch, without keeping them all."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from widthwise.data import Dataset
from widthwise.errors import FitError, InputError, said_by
from widthwise.sgd.losses import LOSSES, mean_loss
from widthwise.sgd.recipe import LossKind, Recipe
from widthwise.training.networks import computing_dtype

LossFunction = Callable[[Tensor, Tensor], Tensor]
Loss = LossKind | LossFunction

_STREAM = 0x676E_7321  # keeps these draws apart from anything else seeded by the same number
# Floats of gradients held at a time.
_FLOATS = 1 << 24
_MIXED_BATCH_SIZE = 32

Parameters = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class GradientSource:
    """A copy of a module, examples, and a loss: gradients of consecutive batches on request.

    Attributes:
        module: a copy; its buffers change as training would change them.
        inputs: (N, *shape), in an order drawn from the seed.
        targets: (N, …).
        loss: mean over its examples.
        batch_size: examples a gradient.
        mapped: whether ``torch.func.vmap`` serves it.
        seed: of dropout's masks.
    """

    module: nn.Module
    inputs: Tensor
    targets: Tensor
    loss: LossFunction
    batch_size: int
    mapped: bool
    seed: int

    @classmethod
    def prepare(
        cls,
        module: nn.Module,
        inputs: Dataset | ArrayLike,
        targets: ArrayLike | None,
        *,
        loss: Loss,
        batch_size: int | None,
        seed: int,
    ) -> "GradientSource":
        """Check what the user gave, and find out whether vmap can serve the module.

        Raises:
            InputError: if something is malformed, or the forward fails.
        """
        copy = deepcopy(module)
        trained = [parameter for parameter in copy.parameters() if parameter.requires_grad]
        if not trained:
            raise InputError("the module must have parameters to train, got none; unfreeze some")
        x, y = _examples(inputs, targets, trained[0].device, computing_dtype(copy))
        order = torch.from_numpy(np.random.default_rng([_STREAM, seed]).permutation(len(x)))
        source = cls(
            module=copy,
            inputs=x[order],
            targets=y[order],
            loss=_loss(loss),
            batch_size=_batch_size(copy, batch_size),
            mapped=False,
            seed=seed,
        )
        first = source.inputs[: source.batch_size], source.targets[: source.batch_size]
        with torch.random.fork_rng(devices=_devices(trained[0])):
            try:
                output = source.module(first[0])
                if not callable(loss):
                    _check_classes(output, source.targets)
                source.one_gradient(*first)
            except InputError:
                raise
            except Exception as error:  # it runs the user's code, which may raise anything
                raise InputError(
                    "the loss must have a gradient on the examples, but computing it raised "
                    f"{said_by(error)}; check inputs, targets and loss"
                ) from error
            return _with_mapping(source, *first)

    @property
    def num_examples(self) -> int:
        return len(self.inputs)

    def one_gradient(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Of the mean loss over one batch (b, *shape); shape (P,)."""
        trained = [p for p in self.module.parameters() if p.requires_grad]
        with torch.enable_grad():
            value = self.loss(self.module(inputs), targets)
            found = torch.autograd.grad(value, trained, allow_unused=True)
        pairs = zip(found, trained, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])

    def many_gradients(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Of each of k examples (k, *shape) by itself, by vmap; shape (k, P)."""
        named = dict(self.module.named_parameters())
        trained = {name: p.detach() for name, p in named.items() if p.requires_grad}
        fixed = {name: p.detach() for name, p in named.items() if not p.requires_grad}
        fixed |= dict(self.module.named_buffers())

        def loss_of_one(parameters: Parameters, x: Tensor, y: Tensor) -> Tensor:
            output = functional_call(self.module, {**fixed, **parameters}, (x.unsqueeze(0),))
            return self.loss(output, y.unsqueeze(0))

        mapped = vmap(grad(loss_of_one), in_dims=(None, 0, 0), randomness="different")
        found: Parameters = mapped(trained, inputs, targets)
        return torch.cat([gradient.flatten(1) for gradient in found.values()], 1)

    def squared_norms_and_products(
        self, num_examples: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """|g_i|² and g_i·Σ_j g_j of the gradients of consecutive batches, each (n,).

        Examples that do not fill a batch are left out. Two passes: the sum is needed first. Sums
        are in float64.
        """
        num_gradients = num_examples // self.batch_size
        squared_norms: list[Tensor] = []
        total: Tensor | None = None
        for rows in self._passes(num_gradients):
            squared_norms.append(rows.square().sum(1))
            total = rows.sum(0) if total is None else total + rows.sum(0)
        if total is None or not bool(torch.isfinite(total).all()):
            raise FitError(
                "every gradient must be finite to have a noise scale, but at least one is not; "
                "has training diverged?"
            )
        products = [rows @ total for rows in self._passes(num_gradients)]
        return torch.cat(squared_norms).cpu().numpy(), torch.cat(products).cpu().numpy()

    def _passes(self, num_gradients: int) -> Iterator[Tensor]:
        """All gradients, some rows (k, P) at a time, in float64; every pass gives the same."""
        size = sum(p.numel() for p in self.module.parameters() if p.requires_grad)
        rows = max(1, min(num_gradients, _FLOATS // size))
        buffers = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        with torch.random.fork_rng(devices=_devices(self.inputs)):
            torch.manual_seed(self.seed)
            for first in range(0, num_gradients, rows):
                yield self._rows(first, min(first + rows, num_gradients)).double()
        for name, buffer in self.module.named_buffers():
            buffer.copy_(buffers[name])

    def _rows(self, first: int, last: int) -> Tensor:
        if self.mapped:
            return self.many_gradients(self.inputs[first:last], self.targets[first:last])
        examples = slice(first * self.batch_size, last * self.batch_size)
        inputs = torch.split(self.inputs[examples], self.batch_size)
        targets = torch.split(self.targets[examples], self.batch_size)
        pairs = zip(inputs, targets, strict=True)
        return torch.stack([self.one_gradient(x, y) for x, y in pairs])


def _with_mapping(source: GradientSource, inputs: Tensor, targets: Tensor) -> GradientSource:
    """By vmap, if that serves the module; it refuses control flow on values, for one."""
    if source.batch_size > 1:
        return source
    try:
        source.many_gradients(inputs, targets)
    except Exception:  # it runs the user's code, which may raise anything; the loop did serve it
        return source
    return replace(source, mapped=True)


def _loss(loss: Loss) -> LossFunction:
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise InputError(
            f"loss must be one of {', '.join(LOSSES)}, or a function of (output, targets), "
            f"got {loss!r}"
        )
    return mean_loss(Recipe(loss=loss))


def _batch_size(module: nn.Module, batch_size: int | None) -> int:
    mixes = any(
        isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None)
        for layer in module.modules()
    )
    if batch_size is None:
        return _MIXED_BATCH_SIZE if mixes else 1
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    if mixes and batch_size == 1:
        raise InputError(
            "batch norm in training mode mixes the examples of a batch, so that one example has "
            "no gradient of its own, got batch_size 1; use a larger one, or module.eval()"
        )
    return batch_size


def _examples(
    inputs: Dataset | ArrayLike, targets: ArrayLike | None, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """(inputs, targets) where the parameters are, floats in their type."""

    def moved(values: Tensor) -> Tensor:
        return values.to(device, dtype if values.is_floating_point() else None)

    if isinstance(inputs, Dataset):
        if targets is not None:
            raise InputError("targets come with the data set, got others too; leave them out")
        x, y = torch.from_numpy(inputs.train_inputs), torch.from_numpy(inputs.train_labels)
    elif targets is None:
        raise InputError("targets must come with inputs that are arrays, got none; pass them")
    else:
        x, y = torch.as_tensor(inputs), torch.as_tensor(targets)
    if x.ndim < 1 or y.ndim < 1 or len(x) != len(y) or len(x) == 0:
        raise InputError(
            f"inputs and targets must hold the same examples, got shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}; pass one target an example"
        )
    return moved(x), moved(y)


def _check_classes(output: Tensor, targets: Tensor) -> None:
    whole = not targets.is_floating_point() and targets.dtype != torch.bool
    if output.ndim != 2 or targets.ndim != 1 or not whole:
        raise InputError(
            "this loss needs logits (n, classes) and whole numbers (n,) as targets, got "
            f"{tuple(output.shape)} and {tuple(targets.shape)} of {targets.dtype}; pass a function "
            "as loss for other tasks"
        )
    if int(targets.min()) < 0 or int(targets.max()) >= output.shape[1]:
        raise InputError(
            f"targets must be classes in [0, {output.shape[1]}), got {int(targets.min())} to "
            f"{int(targets.max())}; widen the readout or correct the targets"
        )


def _devices(like: Tensor) -> list[torch.device]:
    return [like.device] if like.device.type == "cuda" else []
