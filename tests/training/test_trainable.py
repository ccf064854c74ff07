"""Networks that cannot be trained here, each named with its remedy; and none that can."""

import warnings

import pytest
import torch
from tiny_studies import INPUT_SHAPE, NUM_CLASSES
from torch import nn
from torch.nn.utils import parametrizations, prune

from widthwise.errors import InputError
from widthwise.families import mlp
from widthwise.training.networks import network_inputs
from widthwise.training.trainable import check_trainable

FAMILY = mlp(INPUT_SHAPE, NUM_CLASSES)


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def changed(change):
    """A builder of the network after a change, in place or returned."""

    def build():
        module = net()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = change(module)
        return found if isinstance(found, nn.Module) and len([*found.children()]) > 1 else module

    return build


class Holder(nn.Module):
    """A network that may hold something that it does not register."""

    def __init__(self, **others):
        super().__init__()
        self.readout = nn.Linear(6, 3)
        for name, value in others.items():
            setattr(self, name, value)

    def forward(self, x):
        x = x.flatten(1)
        for value in vars(self).values():
            if isinstance(value, torch.Tensor):
                x = x @ value if value.ndim == 2 else x * value
            for child in value if isinstance(value, list) else []:
                x = child(x) if isinstance(child, nn.Module) else x @ child
        if "table" in vars(self):
            x = self.table["first"](x)
        return self.readout(x)


def switched_off():
    torch.set_grad_enabled(False)
    return net()


def with_parameter(value):
    module = net()
    module.register_parameter("odd", nn.Parameter(value, requires_grad=value.is_complex()))
    return module


def spectral(module):
    nn.utils.spectral_norm(module[1])
    module(torch.ones(2, 6))


REFUSED = {
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "'1.weight' .*lazy .* batch"),
    "lazy norm": (changed(lambda m: nn.Sequential(m, nn.LazyBatchNorm1d())), "'1.weight' .*lazy"),
    "weight norm": (changed(lambda m: nn.utils.weight_norm(m[1])), "'1.weight' .*parametrizations"),
    "spectral norm": (changed(spectral), "'1.weight' .*parametrizations"),
    "pruned": (
        changed(lambda m: prune.random_unstructured(m[1], "weight", 0.5)),
        r"'1.weight' .*prune\.remove",
    ),
    "scripted": (changed(torch.jit.script), "TorchScript"),
    "traced": (changed(lambda m: torch.jit.trace(m, torch.ones(2, 6))), "TorchScript"),
    "scripted part": (
        changed(lambda m: nn.Sequential(torch.jit.script(m), nn.ReLU())),
        "TorchScript",
    ),
    "no_grad": (switched_off, r"gradients off for the whole program; .*torch\.no_grad"),
    "frozen": (changed(lambda m: m.requires_grad_(False)), "no parameter requires a gradient"),
    "frozen layer": (lambda: nn.Linear(6, 3).requires_grad_(False), "no parameter requires"),
    "complex": (lambda: with_parameter(torch.zeros(2, dtype=torch.cfloat)), "'odd' is complex"),
    "integer": (lambda: with_parameter(torch.arange(4)), "'odd' holds no real numbers .* buffer"),
    "boolean": (lambda: with_parameter(torch.ones(2) > 0), "'odd' holds no real numbers"),
    "tensor": (lambda: Holder(B=torch.randn(6, 6)), "'B' is neither .*register_buffer"),
    "list of layers": (lambda: Holder(layers=[nn.Linear(6, 6)]), r"'layers\[0\]' .*ModuleList"),
    "list of tensors": (lambda: Holder(weights=[torch.ones(6, 6)]), r"'weights\[0\]' is neither"),
    "table of layers": (
        lambda: Holder(table={"first": nn.Linear(6, 6)}),
        r"\"table\['first'\]\" is neither .*ModuleDict",
    ),
}
ALLOWED = {
    "plain": net,
    "partly frozen": changed(lambda m: m[1].requires_grad_(False)),
    "number in a tensor": lambda: Holder(scale=torch.tensor(2.0)),
    "tensor that is not used": lambda: Holder(unused={"x": torch.randn(3)}),
    "mask": lambda: Holder(masks=(torch.ones(6, dtype=torch.bool),)),
    "shared layers in a list": changed(lambda m: setattr(m, "shown", [m[1], m[3]])),
    "new weight norm": changed(lambda m: parametrizations.weight_norm(m[1])),
    "pruned for good": changed(
        lambda m: prune.remove(prune.random_unstructured(m[1], "weight", 0.5), "weight")
    ),
    "double": changed(lambda m: m.double()),
}


def check(module):
    examples = network_inputs(module, torch.randn(4, *INPUT_SHAPE).numpy())
    check_trainable(FAMILY, module, examples)


@pytest.mark.parametrize("name", REFUSED)
def test_named_with_the_remedy(name):
    build, message = REFUSED[name]
    with pytest.raises(InputError, match=f"must be trainable, but .*{message}") as raised:
        check(build())
    assert "\n" not in str(raised.value)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", ALLOWED)
def test_what_can_be_trained_is_let_be(name):
    module = ALLOWED[name]()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    check(module)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert module.training
