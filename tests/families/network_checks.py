"""What the tests of the convolutional families share."""

import math

import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from widthwise.families.layers import ScaledConv2d, ScaledLinear
from widthwise.theory.parameterization import PARAMETERIZATIONS, WidthRule

WEIGHTED = (nn.Linear, nn.Conv2d)


def num_parameters(module):
    return sum(p.numel() for p in module.parameters())


def weighted(module):
    """Its linear layers and convolutions, in the order in which they were registered."""
    return [layer for layer in module.modules() if isinstance(layer, WEIGHTED)]


def fan_in(layer):
    return layer.weight[0].numel()


class Tracer(fx.Tracer):
    def is_leaf_module(self, m, module_qualified_name):
        scaled = isinstance(m, ScaledConv2d | ScaledLinear)
        return scaled or super().is_leaf_module(m, module_qualified_name)


def traced(module):
    return fx.GraphModule(module, Tracer().trace(module))


@pytest.fixture
def unscaled_rule(monkeypatch):
    """The standard parameterization without its 1/√fan_in: what the variance checks must notice."""
    monkeypatch.setitem(
        PARAMETERIZATIONS,
        "standard",
        WidthRule(init_exponent=0.0, forward_exponent=0.0, meaning="none", drawn=True),
    )


def mean_square_is(values, expected, largest_error=0.15):
    """Whether the mean of squares is this, to five standard errors of it.

    values: (seeds, outputs); outputs of one seed share features, so that only seeds count as
    independent. The error is taken from their spread; above ``largest_error`` (relative) the
    sample would say nothing.
    """
    per_seed = values.square().mean(1)
    error = float(per_seed.std()) / math.sqrt(len(per_seed))
    assert 5 * error < largest_error * float(per_seed.mean())
    return abs(float(per_seed.mean()) - expected) < 5 * error


def train(module, groups, batches, momentum=0.0):
    """Outputs on every batch before its step, and at the end on the first again."""
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=momentum)
    outputs = []
    for inputs, targets in batches:
        optimizer.zero_grad()
        logits = module(inputs)
        outputs.append(logits.detach())
        functional.cross_entropy(logits, targets).backward()
        optimizer.step()
    with torch.no_grad():
        return torch.stack([*outputs, module(batches[0][0])])


def in_standard_form(module):
    """Changed in place: scaled layers become ordinary ones with weights divided by √fan_in."""
    for parent in module.modules():
        for name, child in list(parent.named_children()):
            if isinstance(child, ScaledLinear | ScaledConv2d):
                setattr(parent, name, _plain(child))
    return module


def _plain(layer):
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        plain = nn.Linear(layer.in_features, layer.out_features, bias)
    else:
        sizes = (layer.kernel_size, layer.stride, layer.padding)
        plain = nn.Conv2d(layer.in_channels, layer.out_channels, *sizes, bias=bias)
    plain.to(layer.weight.dtype)
    with torch.no_grad():
        plain.weight.copy_(layer.weight / fan_in(layer) ** 0.5)
        if bias:
            plain.bias.copy_(layer.bias)
    return plain


def rates(module, learning_rate, weight_rate):
    """Parameter groups: weight_rate(fan_in) for weights of linear layers and convolutions,
    learning_rate for every other parameter."""
    weights = {id(layer.weight): weight_rate(fan_in(layer)) for layer in weighted(module)}
    return [{"params": [p], "lr": weights.get(id(p), learning_rate)} for p in module.parameters()]
