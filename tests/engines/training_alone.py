"""The reference of the packing tests: one module, ``torch.optim.SGD``, a plain loop."""

import copy
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parents[2]))  # validation is not part of the package

from validation.published.comparison import own_dropout
from widthwise.engines import pack
from widthwise.engines.compiled.library import instruction_set
from widthwise.engines.modules import NotPackableError
from widthwise.sgd.recipe import Recipe

PLAIN = Recipe()


def dense_engine():
    """What trains chains of dense layers in float32 on this machine's CPU."""
    try:
        instruction_set()
    except NotPackableError:
        return "chain"
    return "compiled"


def seeded(build):
    """A function of the seed that gives a freshly initialized module."""

    def make(seed):
        torch.manual_seed(seed)
        return build()

    return make


def batches(steps, replicas, shape, *, dtype=torch.float64, batch_size=6, num_classes=3):
    generator = torch.Generator().manual_seed(1)
    size = (steps, replicas, batch_size, *shape)
    inputs = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
    return inputs, torch.randint(num_classes, size[:3], generator=generator)


def loss_of(logits, targets, recipe):
    if recipe.loss == "mean-squared-error":
        return functional.mse_loss(logits, functional.one_hot(targets, 3).to(logits.dtype))
    return functional.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)


def train_alone(module, rate, momentum, inputs, targets, *, recipe=PLAIN, factors=None, seed=0):
    """Losses of each step; the module is trained."""
    optimizer = torch.optim.SGD(
        [p for p in module.parameters() if p.requires_grad],
        lr=rate,
        momentum=momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov and momentum > 0,
    )
    losses = []
    for step, (x, y) in enumerate(zip(inputs, targets, strict=True)):
        optimizer.param_groups[0]["lr"] = rate * (1.0 if factors is None else factors[step])
        optimizer.zero_grad()
        with own_dropout(seed, step):
            loss = loss_of(module(x), y, recipe)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def train_packed(
    make, rates, momenta, inputs, targets, *, recipe=PLAIN, factors=None, dtype=torch.float64
):
    """Modules (untrained), their pack (trained), and its losses (steps, R)."""
    modules = [make(seed).to(dtype) for seed in range(len(rates))]
    packed = pack(
        modules,
        rates,
        momenta,
        recipe=recipe,
        seeds=[10 + i for i in range(len(rates))],
        example=(inputs[0, 0], targets[0, 0]),
    )
    losses = torch.empty(inputs.shape[:2], dtype=dtype)
    for step in range(len(inputs)):
        factor = 1.0 if factors is None else factors[step]
        packed.step(inputs[step], targets[step], losses[step], number=step, rate_factor=factor)
    return modules, packed, losses


def largest_error(make, rates, momenta, inputs, targets, *, recipe=PLAIN, factors=None):
    """Of losses, parameters, buffers and evaluation-mode logits, relative to the largest of each
    (at least 1), over all replicas; and the engine."""
    modules, packed, losses = train_packed(
        make, rates, momenta, inputs, targets, recipe=recipe, factors=factors, dtype=inputs.dtype
    )
    errors = []

    def compare(ours, theirs):
        ours, theirs = ours.detach().double(), theirs.detach().double()
        scale = max(1.0, float(theirs.abs().max()))
        errors.append(float((ours - theirs).abs().max()) / scale)

    for i, module in enumerate(modules):
        alone = copy.deepcopy(module)
        compare(
            losses[:, i],
            train_alone(
                alone,
                rates[i],
                momenta[i],
                inputs[:, i],
                targets[:, i],
                recipe=recipe,
                factors=factors,
                seed=10 + i,
            ),
        )
        parameters, buffers = packed.parameters(i), packed.buffers(i)
        assert set(parameters) == {name for name, _ in alone.named_parameters()}
        assert set(buffers) == {name for name, _ in module.named_buffers()}
        for name, parameter in alone.named_parameters():
            compare(parameters[name], parameter)
        for name, buffer in buffers.items():
            compare(buffer, alone.get_buffer(name))
        with torch.no_grad():
            compare(packed.logits(inputs[0, 0])[i], alone.eval()(inputs[0, 0]))
    return max(errors), packed


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.inner, self.readout = nn.Linear(6, 7), nn.Linear(7, 7), nn.Linear(7, 3)

    def forward(self, x):
        h = self.enter(x.flatten(1)).relu()
        return self.readout(h + torch.tanh(self.inner(h)))


class HandWritten(nn.Module):
    def __init__(self):
        super().__init__()
        self.readout = nn.Linear(9, 3)
        self.hidden = nn.Linear(6, 9)

    def forward(self, x):
        return self.readout(torch.relu(self.hidden(torch.flatten(x, 1))))
