"""A pack of a published architecture against its modules trained one by one."""

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

from validation.published.base import CLASSES, Architecture
from widthwise.engines import pack
from widthwise.engines.draws import keep_mask

# Different for every replica; small enough that rounding is not amplified by the dynamics.
LEARNING_RATES = [0.01, 0.003, 0.001]
MOMENTUM = 0.9
STEPS, BATCH = 10, 8


@dataclass(frozen=True)
class Comparison:
    """Largest differences between a pack and its modules trained one by one, over replicas.

    Weights, relative to the largest weight; buffers, to the largest of each, but at least to 1, at
    which running variances start; losses and logits, to the largest of either. `moved`: how far
    training moved some weight, in the unit of weights.
    """

    engine: str
    reason: str
    weights: float
    buffers: float
    losses: float
    logits: float
    moved: float

    def worst(self) -> float:
        return max(self.weights, self.buffers, self.losses, self.logits)


def relative(ours: Tensor, theirs: Tensor, scale: float | None = None) -> float:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        raise AssertionError(f"{ours.shape} {ours.dtype} against {theirs.shape} {theirs.dtype}")
    difference = float((ours.double() - theirs.double()).abs().max())
    return difference / (scale or max(float(theirs.double().abs().max()), 1e-30))


def own_dropout(seed: int, step: int) -> ExitStack:
    """Dropout written out, with the masks that a replica with this seed draws."""
    calls = iter(range(1000))

    def with_axes(axes: int | None) -> Callable[..., Tensor]:
        def dropout(
            x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
        ) -> Tensor:
            if not training or p == 0:
                return x
            shape = list(x.shape) if axes is None else [*x.shape[:axes], *[1] * (x.ndim - axes)]
            return x * keep_mask(seed, step, next(calls), shape, p).to(x.dtype) / (1 - p)

        return dropout

    stack = ExitStack()
    stack.enter_context(mock.patch.object(functional, "dropout", with_axes(None)))
    for name in ("dropout1d", "dropout2d", "dropout3d"):
        stack.enter_context(mock.patch.object(functional, name, with_axes(2)))
    kernel = functional.scaled_dot_product_attention

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Tensor:
        if dropout_p == 0.0:
            return kernel(query, key, value, attn_mask, 0.0, is_causal, **options)
        # Values that are one at one position give the kernel's weights.
        unit = torch.eye(key.shape[-2], dtype=value.dtype).expand(*value.shape[:-1], -1)
        weights = kernel(query, key, unit, attn_mask, 0.0, is_causal, **options)
        if value.shape[-3] != weights.shape[-3]:
            value = value.repeat_interleave(weights.shape[-3] // value.shape[-3], -3)
        return functional.dropout(weights, dropout_p) @ value

    stack.enter_context(mock.patch.object(functional, "scaled_dot_product_attention", attention))
    return stack


def train_alone(
    module: nn.Module,
    learning_rate: float,
    momentum: float,
    inputs: Tensor,
    targets: Tensor,
    seed: int = 0,
) -> Tensor:
    """Losses of each step; the module is trained."""
    optimizer = torch.optim.SGD(module.parameters(), lr=learning_rate, momentum=momentum)
    losses = torch.empty(len(inputs), dtype=torch.float64)
    for step, (x, y) in enumerate(zip(inputs, targets, strict=True)):
        optimizer.zero_grad()
        with own_dropout(seed, step):
            loss = functional.cross_entropy(module(x), y)
        loss.backward()
        optimizer.step()
        losses[step] = loss.detach()
    return losses


def build(architecture: Architecture) -> list[nn.Module]:
    modules = []
    for seed in range(len(LEARNING_RATES)):
        torch.manual_seed(seed)
        modules.append(architecture.build().double().train())
    return modules


def compare(
    architecture: Architecture,
    *,
    momentum_alone: float = MOMENTUM,
    change_alone: Callable[[nn.Module], None] = lambda module: None,
) -> Comparison:
    """A pack against modules trained alone, with something changed in those if asked for."""
    modules = build(architecture)
    replicas = len(modules)
    generator = torch.Generator().manual_seed(7)
    inputs = architecture.draw_inputs((STEPS, replicas, BATCH), generator)
    targets = torch.randint(CLASSES, (STEPS, replicas, BATCH), generator=generator)
    unseen = architecture.draw_inputs((6,), generator)
    example = architecture.draw_inputs((BATCH,), generator), torch.arange(BATCH) % CLASSES

    rates = [rate * architecture.rate_factor for rate in LEARNING_RATES]
    packed = pack(modules, rates, [MOMENTUM] * replicas, example=example)
    losses = torch.empty(STEPS, replicas, dtype=torch.float64)
    for step in range(STEPS):
        packed.step(inputs[step], targets[step], losses[step], number=step)
    logits = packed.logits(unseen)

    weight_error = buffer_error = loss_error = logit_error = 0.0
    moved = float("inf")
    for i, initial in enumerate(modules):
        module = copy.deepcopy(initial)
        change_alone(module)
        alone = train_alone(module, rates[i], momentum_alone, inputs[:, i], targets[:, i], seed=i)
        loss_error = max(loss_error, relative(losses[:, i], alone))
        with torch.no_grad():
            logit_error = max(logit_error, relative(logits[i], module.eval()(unseen)))
        parameters = {name: p.detach() for name, p in module.named_parameters()}
        ours = packed.parameters(i)
        assert ours.keys() == parameters.keys()
        largest = max(float(p.abs().max()) for p in parameters.values())
        change = 0.0
        before = dict(initial.named_parameters())
        for name, theirs in parameters.items():
            weight_error = max(weight_error, relative(ours[name], theirs, largest))
            change = max(change, relative(before[name].detach(), theirs, largest))
        moved = min(moved, change)
        buffers, ours = dict(module.named_buffers()), packed.buffers(i)
        # Forward may have made more, which the proof has found to be constants.
        assert ours.keys() == dict(initial.named_buffers()).keys()
        for name, mine in ours.items():
            theirs = buffers[name]
            scale = max(1.0, float(theirs.abs().max()))
            buffer_error = max(buffer_error, relative(mine, theirs, scale))
    return Comparison(
        packed.engine, packed.reason, weight_error, buffer_error, loss_error, logit_error, moved
    )
