"""Packs of architectures that others published equal their modules trained one by one.

The networks come from timm, torchvision and x-transformers, narrow and shallow and with random
initial weights: nothing is downloaded. What no engine can serve is refused by name.
"""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision_here import import_torchvision

from widthwise.engines import pack
from widthwise.errors import InputError

with warnings.catch_warnings():
    # What these packages warn of when imported is not ours to mend.
    warnings.simplefilter("ignore")
    import_torchvision()
    from torchvision.models import MobileNetV3, ShuffleNetV2
    from torchvision.models.mobilenetv3 import InvertedResidualConfig

    pytest.importorskip("timm", reason="timm is not installed")
    from timm.layers import GroupNorm, GroupNormAct
    from timm.models import convnext, densenet, efficientnet, mlp_mixer, resnet, resnetv2
    from timm.models import vision_transformer as vit
    from timm.models._efficientnet_builder import decode_arch_def

    pytest.importorskip("x_transformers", reason="x-transformers is not installed")
    from x_transformers import Encoder, TransformerWrapper

CLASSES = 5
IMAGE = (3, 32, 32)
TOKENS, VOCABULARY = 7, 11


class FloatTokens(nn.Module):
    """A text model for inputs that are stored as floating-point numbers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model(tokens.long())


def images(size, generator):
    return torch.randn(*size, *IMAGE, generator=generator, dtype=torch.float64)


def tokens(size, generator):
    return torch.randint(VOCABULARY, (*size, TOKENS), generator=generator).double()


@dataclass(frozen=True)
class Architecture:
    """A published network: how to build one, and what it reads."""

    build: Callable[[], nn.Module]
    draw_inputs: Callable[..., torch.Tensor] = images


def efficient_net(activation):
    """Stem, a depthwise-separable block, inverted residuals with squeeze-excite."""
    blocks = decode_arch_def([["ds_r1_k3_s1_e1_c8_se0.25"], ["ir_r2_k3_s2_e2_c8_se0.25"]])
    return efficientnet.EfficientNet(
        blocks, CLASSES, num_features=16, stem_size=8, act_layer=activation
    )


def mobile_net_v3():
    block = partial(InvertedResidualConfig, dilation=1, width_mult=1.0)
    return MobileNetV3(
        [
            block(8, 3, 16, 8, True, "RE", 2),
            block(8, 3, 24, 16, False, "HS", 1),
            block(16, 5, 32, 16, True, "HS", 1),
        ],
        last_channel=24,
        num_classes=CLASSES,
        dropout=0.0,
    )


def residual_net(block, **options):
    return resnet.ResNet(
        block, (1,) * 4, CLASSES, channels=(8, 8, 16, 16), zero_init_last=False, **options
    )


def group_norm_act(channels, **options):
    return GroupNormAct(channels, num_groups=4, **options)


def encoder_for_text():
    encoder = Encoder(dim=12, depth=2, heads=2, attn_dim_head=6)
    model = TransformerWrapper(
        num_tokens=VOCABULARY,
        max_seq_len=TOKENS,
        attn_layers=encoder,
        average_pool_embed=True,
        logits_dim=CLASSES,
    )
    return FloatTokens(model)


ARCHITECTURES = {
    "ResNet (timm)": Architecture(lambda: residual_net(resnet.BasicBlock)),
    "SE-ResNeXt (timm)": Architecture(
        lambda: residual_net(
            resnet.Bottleneck, cardinality=2, base_width=32, block_args={"attn_layer": "se"}
        )
    ),
    "ResNet with group norm (timm)": Architecture(
        lambda: residual_net(resnet.BasicBlock, norm_layer=partial(GroupNorm, num_groups=4))
    ),
    "ResNetV2 with weight standardization (timm)": Architecture(
        lambda: resnetv2.ResNetV2([1, 1], (16, 32), CLASSES, stem_chs=8, norm_layer=group_norm_act)
    ),
    "EfficientNet (timm)": Architecture(lambda: efficient_net(nn.SiLU)),
    "MobileNetV3 (torchvision)": Architecture(mobile_net_v3),
    "ShuffleNetV2 (torchvision)": Architecture(
        lambda: ShuffleNetV2([1, 1, 1], [8, 8, 16, 16, 24], CLASSES)
    ),
    "DenseNet (timm)": Architecture(
        lambda: densenet.DenseNet(4, (2, 2), CLASSES, stem_type="", bn_size=2)
    ),
    "ConvNeXt (timm)": Architecture(
        lambda: convnext.ConvNeXt(
            3, CLASSES, depths=(1, 1, 1, 1), dims=(8, 8, 16, 16), kernel_sizes=3
        )
    ),
    "MLP-Mixer (timm)": Architecture(
        lambda: mlp_mixer.MlpMixer(CLASSES, 32, patch_size=8, num_blocks=2, embed_dim=16)
    ),
    "ViT (timm)": Architecture(
        lambda: vit.VisionTransformer(
            32, 8, num_classes=CLASSES, embed_dim=16, depth=2, num_heads=2
        )
    ),
    "text transformer (x-transformers)": Architecture(encoder_for_text, tokens),
}
# These run in packed form; the others under vmap, which is slower: a change here is news.
IN_PACKED_FORM = {
    "ResNet (timm)",
    "SE-ResNeXt (timm)",
    "ResNet with group norm (timm)",
    "MobileNetV3 (torchvision)",
    "ShuffleNetV2 (torchvision)",
    "MLP-Mixer (timm)",
}

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


def relative(ours, theirs, scale=None):
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        raise AssertionError(f"{ours.shape} {ours.dtype} against {theirs.shape} {theirs.dtype}")
    difference = float((ours.double() - theirs.double()).abs().max())
    return difference / (scale or max(float(theirs.double().abs().max()), 1e-30))


def train_alone(module, learning_rate, momentum, inputs, targets):
    optimizer = torch.optim.SGD(module.parameters(), lr=learning_rate, momentum=momentum)
    losses = torch.empty(len(inputs), dtype=torch.float64)
    for step, (x, y) in enumerate(zip(inputs, targets, strict=True)):
        optimizer.zero_grad()
        loss = functional.cross_entropy(module(x), y)
        loss.backward()
        optimizer.step()
        losses[step] = loss.detach()
    return losses


def build(architecture):
    modules = []
    for seed in range(len(LEARNING_RATES)):
        torch.manual_seed(seed)
        modules.append(architecture.build().double().train())
    return modules


def compare(architecture, *, momentum_alone=MOMENTUM, change_alone=lambda module: None):
    """A pack against modules trained alone, with something changed in those if asked for."""
    modules = build(architecture)
    replicas = len(modules)
    generator = torch.Generator().manual_seed(7)
    inputs = architecture.draw_inputs((STEPS, replicas, BATCH), generator)
    targets = torch.randint(CLASSES, (STEPS, replicas, BATCH), generator=generator)
    unseen = architecture.draw_inputs((6,), generator)
    example = architecture.draw_inputs((BATCH,), generator), torch.arange(BATCH) % CLASSES

    packed = pack(modules, LEARNING_RATES, [MOMENTUM] * replicas, example=example)
    losses = torch.empty(STEPS, replicas, dtype=torch.float64)
    for step in range(STEPS):
        packed.step(inputs[step], targets[step], losses[step], number=step)
    logits = packed.logits(unseen)

    weight_error = buffer_error = loss_error = logit_error = 0.0
    moved = float("inf")
    for i, initial in enumerate(modules):
        module = copy.deepcopy(initial)
        change_alone(module)
        alone = train_alone(module, LEARNING_RATES[i], momentum_alone, inputs[:, i], targets[:, i])
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
        assert ours.keys() == buffers.keys()
        for name, theirs in buffers.items():
            scale = max(1.0, float(theirs.abs().max()))
            buffer_error = max(buffer_error, relative(ours[name], theirs, scale))
    return Comparison(
        packed.engine, packed.reason, weight_error, buffer_error, loss_error, logit_error, moved
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_equals_one_by_one(name):
    found = compare(ARCHITECTURES[name])
    assert found.worst() < 1e-9
    # Training that stands still would agree whatever the pack does.
    assert found.moved > 1e-4
    assert found.engine == ("graph" if name in IN_PACKED_FORM else "vmap"), found.reason


@pytest.mark.slow
def test_the_comparison_notices_a_wrong_momentum():
    found = compare(ARCHITECTURES["ViT (timm)"], momentum_alone=MOMENTUM * (1 + 1e-6))
    assert found.worst() > 1e-9


@pytest.mark.slow
def test_the_comparison_notices_wrong_running_statistics():
    def change(module):
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum *= 1 + 1e-6

    found = compare(ARCHITECTURES["ResNet (timm)"], change_alone=change)
    assert found.buffers > 1e-9
    assert found.weights < 1e-9


class DataDependent(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Item(nn.Module):
    def forward(self, x):
        return x / x.abs().max().item()


class RandomLike(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class RandomOfFixedShape(nn.Module):
    """What symbolic tracing would take for a constant."""

    def forward(self, x):
        return x + torch.rand(6, dtype=torch.float64)


class RandomInPlace(nn.Module):
    def forward(self, x):
        return x + torch.empty_like(x).normal_()


IMPOSSIBLE = {
    "a branch on values": (DataDependent, "data-dependent"),
    "a number read from a tensor": (Item, r"item\(\)"),
    "random numbers like a tensor": (RandomLike, "random"),
    "random numbers of a fixed shape": (RandomOfFixedShape, "random"),
    "random numbers written in place": (RandomInPlace, "random"),
}


@pytest.mark.parametrize("layer_and_reason", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_impossible_layer_is_refused_by_name(layer_and_reason):
    layer, reason = layer_and_reason
    modules = [
        nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Tanh(), layer()), nn.Linear(6, 3)).double()
        for _ in range(2)
    ]
    example = torch.ones(5, 4, dtype=torch.float64), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(InputError, match=rf"(?s)'1\.1' \({layer.__name__}\).*{reason}"):
        pack(modules, [0.1, 0.2], example=example)
