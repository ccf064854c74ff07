"""Networks that others published, recognized as what their source code draws.

Each table was read off the package's own source (named beside it), a pattern of paths a row, and
must cover every parameter. Widths are small, weights random: nothing is downloaded.
"""

import functools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from scipy import stats
from torch import nn
from torchvision_here import import_torchvision

from widthwise.families import cnn, mlp
from widthwise.inspection import CONFIDENCE, inspect

with warnings.catch_warnings():
    # What these packages warn of when imported is not ours to mend.
    warnings.simplefilter("ignore")
    import_torchvision()
    from torchvision.models import (
        MNASNet,
        MobileNetV3,
        ShuffleNetV2,
        SqueezeNet,
        VisionTransformer,
        densenet,
    )
    from torchvision.models import resnet as torchvision_resnet
    from torchvision.models.mobilenetv3 import InvertedResidualConfig

    pytest.importorskip("timm", reason="timm is not installed")
    from timm.layers import BatchNormAct2d
    from timm.models import convnext, efficientnet, mlp_mixer, resnet, resnetv2
    from timm.models import vision_transformer as vit
    from timm.models._efficientnet_builder import decode_arch_def

    pytest.importorskip("x_transformers", reason="x-transformers is not installed")
    from x_transformers import Decoder, TransformerWrapper

DEFAULT = "pytorch_default"
FAN_OUT = "kaiming_normal(fan_out, relu)"
FAN_IN = "kaiming_normal(fan_in, relu)"
UNKNOWN = "unknown"
NORMS = [(r"Norm\w* .*weight", "ones"), (r"Norm\w* .*bias", "zeros")]


@dataclass(frozen=True)
class Published:
    """How to build a network, what its source draws (patterns of "class path", the first that
    is found wins), and the parameterization that this makes, alone."""

    build: Callable[[], nn.Module]
    draws: list[tuple[str, str]]
    parameterization: str | None


def mobile_net_v3():
    block = functools.partial(InvertedResidualConfig, dilation=1, width_mult=1.0)
    return MobileNetV3(
        [
            block(8, 3, 16, 8, True, "RE", 2),
            block(8, 3, 24, 16, False, "HS", 1),
            block(16, 5, 32, 16, True, "HS", 1),
        ],
        last_channel=64,
        num_classes=10,
        dropout=0.0,
    )


def efficient_net():
    blocks = decode_arch_def([["ds_r1_k3_s1_e1_c16_se0.25"], ["ir_r2_k3_s2_e4_c32_se0.25"]])
    return efficientnet.EfficientNet(blocks, 10, num_features=64, stem_size=16)


def small_vit(**options):
    return vit.VisionTransformer(
        32, 8, num_classes=10, embed_dim=96, depth=2, num_heads=2, **options
    )


def decoder():
    return TransformerWrapper(
        num_tokens=50, max_seq_len=32, attn_layers=Decoder(dim=64, depth=2, heads=2)
    )


VIT = [
    # init_weights (timm 1.0): pos_embed, class token; Linear by trunc_normal_(std=.02), cut at ±2;
    # the patch embedding is an untouched Conv2d.
    (r"cls_token", "normal(1e-6)"),
    (r"pos_embed", "normal(0.02)"),
    (r"patch_embed.proj", DEFAULT),
    (r"norm\d?\.weight", "ones"),
    (r"bias", "zeros"),
]

PUBLISHED = {
    # torchvision/models/resnet.py: kaiming_normal_(fan_out, relu) for convolutions, 1 and 0 for
    # batch norm, nn.Linear untouched.
    "ResNet (torchvision)": Published(
        lambda: torchvision_resnet.ResNet(torchvision_resnet.BasicBlock, [1] * 4, num_classes=10),
        [*NORMS, (r"fc", DEFAULT), (r"", FAN_OUT)],
        "standard",
    ),
    # squeezenet.py: kaiming_uniform_() (a=0: relu), last convolution N(0, 0.01²), biases 0.
    "SqueezeNet (torchvision)": Published(
        lambda: SqueezeNet("1_1", num_classes=10),
        [
            (r"bias", "zeros"),
            (r"classifier.1.weight", "normal(0.01)"),
            (r"", "kaiming_uniform(fan_in, relu)"),
        ],
        None,
    ),
    # mobilenetv3.py: kaiming_normal_(mode="fan_out") (a=0: relu), Linear N(0, 0.01²), biases 0.
    "MobileNetV3 (torchvision)": Published(
        mobile_net_v3,
        [
            *NORMS,
            (r"bias", "zeros"),
            (r"classifier.*weight", "normal(0.01)"),
            (r"", FAN_OUT),
        ],
        None,
    ),
    # densenet.py: kaiming_normal_(), batch norm 1 and 0; classifier default, but its bias 0.
    "DenseNet (torchvision)": Published(
        lambda: densenet.DenseNet(12, (2, 2), num_init_features=24, num_classes=10),
        [
            *NORMS,
            (r"bias", "zeros"),
            (r"classifier.weight", DEFAULT),
            (r"", FAN_IN),
        ],
        "standard",
    ),
    # vision_transformer.py: patches trunc_normal_(√(1/fan_in)), cut at ±2; in_proj by
    # nn.MultiheadAttention's xavier_uniform_, out_proj's weight untouched and bias 0; MLP
    # xavier_uniform_ with biases N(0, 1e-6²); positions N(0, 0.02²); token and head 0.
    "ViT (torchvision)": Published(
        lambda: VisionTransformer(32, 8, 2, 4, 64, 128, num_classes=10),
        [
            (r"class_token|heads.head|conv_proj.bias", "zeros"),
            (r"conv_proj.weight", "lecun_normal"),
            (r"pos_embedding", "normal(0.02)"),
            (r"ln(_\d)?\.weight", "ones"),
            (r"ln(_\d)?\.bias|in_proj_bias|out_proj.bias", "zeros"),
            (r"out_proj.weight", DEFAULT),
            (r"mlp.*bias", "normal(1e-6)"),
            (r"", "xavier_uniform"),
        ],
        "standard",
    ),
    # shufflenetv2.py sets nothing: PyTorch's defaults.
    "ShuffleNetV2 (torchvision)": Published(
        lambda: ShuffleNetV2([1, 1, 1], [16, 32, 48, 64, 96], 10),
        [
            *NORMS,
            (r"", DEFAULT),
        ],
        "default",
    ),
    # mnasnet.py: kaiming_normal_(fan_out, relu); Linear kaiming_uniform_(fan_out, sigmoid), gain 1.
    "MNASNet (torchvision)": Published(
        lambda: MNASNet(0.35, num_classes=10),
        [
            *NORMS,
            (r"bias", "zeros"),
            (r"classifier.1.weight", "kaiming_uniform(fan_out, linear)"),
            (r"", FAN_OUT),
        ],
        "standard",
    ),
    # timm/models/resnet.py: kaiming_normal_(fan_out, relu), Linear untouched, zero_init_last.
    "ResNet (timm)": Published(
        lambda: resnet.ResNet(
            resnet.BasicBlock, (1,) * 4, 10, channels=(16, 16, 32, 32), zero_init_last=False
        ),
        [*NORMS, (r"fc", DEFAULT), (r"", FAN_OUT)],
        "standard",
    ),
    # timm/models/resnetv2.py, _init_weights: head N(0, 0.01²), convolutions fan_out.
    "ResNetV2 (timm)": Published(
        lambda: resnetv2.ResNetV2(
            [1, 1], (32, 64), 10, stem_chs=16, zero_init_last=False, norm_layer=BatchNormAct2d
        ),
        [
            (r"head.fc.weight", "normal(0.01)"),
            (r"norm\d?\.weight", "ones"),
            (r"bias", "zeros"),
            (r"", FAN_OUT),
        ],
        None,
    ),
    # timm/models/_efficientnet_builder.py: fan_out divided by the groups; U(±1/√fan_out).
    "EfficientNet (timm)": Published(
        efficient_net,
        [
            (r"bias", "zeros"),
            (r"bn\d?\.weight", "ones"),
            (r"conv_dw.weight", "kaiming_normal(fan_out/groups, relu)"),
            (r"classifier.weight", "uniform(1/√fan_out)"),
            (r"", FAN_OUT),
        ],
        "standard",
    ),
    # timm/models/convnext.py: trunc_normal_(std=.02) cut at ±2, biases 0, layer scale 1e-6.
    "ConvNeXt (timm)": Published(
        lambda: convnext.ConvNeXt(3, 10, depths=(1,) * 4, dims=(16, 16, 32, 32)),
        [
            (r"gamma", "constant"),
            (r"bias", "zeros"),
            (r"(norm|stem.1|downsample.0).weight", "ones"),
            (r"", "normal(0.02)"),
        ],
        None,
    ),
    # timm/models/mlp_mixer.py: patches lecun_normal_ (truncated), MLPs xavier_uniform_ with biases
    # N(0, 1e-6²), head 0.
    "MLP-Mixer (timm)": Published(
        lambda: mlp_mixer.MlpMixer(10, 32, patch_size=8, num_blocks=2, embed_dim=64),
        [
            (r"head|stem.proj.bias", "zeros"),
            (r"stem.proj.weight", "keras lecun_normal"),
            (r"norm\d?\.weight", "ones"),
            (r"norm\d?\.bias", "zeros"),
            (r"mlp_.*bias", "normal(1e-6)"),
            (r"", "xavier_uniform"),
        ],
        "standard",
    ),
    "ViT (timm)": Published(small_vit, [*VIT, (r"", "normal(0.02)")], None),
    # fix_init divides the second weights of block i by √(2(i + 1)): 0.02/√2 is in no table, and
    # 0.02/√4 is 0.01.
    "ViT, scaled with depth (timm)": Published(
        lambda: small_vit(fix_init=True),
        [
            *VIT,
            (r"blocks.0.(attn.proj|mlp.fc2).weight", UNKNOWN),
            (r"blocks.1.(attn.proj|mlp.fc2).weight", "normal(0.01)"),
            (r"", "normal(0.02)"),
        ],
        None,
    ),
    # x_transformers: embedding kaiming_normal_() over its second dimension; positions nn.Embedding;
    # nn.Linear untouched; LayerNorm stores its gain less 1 (norm_add_unit_offset).
    "decoder (x-transformers)": Published(
        decoder,
        [
            (r"token_emb", FAN_IN),
            (r"pos_emb", "normal(1)"),
            (r"gamma", "zeros"),
            (r"", DEFAULT),
        ],
        "default",
    ),
    # torch/nn/modules/transformer.py: xavier_uniform_ for whatever has two dimensions; attention's
    # biases 0, Linear's untouched.
    "nn.Transformer": Published(
        lambda: nn.Transformer(64, 2, 1, 1, 128, batch_first=True),
        [
            (r"norm\d?\.weight", "ones"),
            (r"norm\d?\.bias|in_proj_bias|out_proj.bias", "zeros"),
            (r"linear\d.bias", DEFAULT),
            (r"", "xavier_uniform"),
        ],
        "standard",
    ),
    # torch/nn/modules/rnn.py: U(±1/√hidden) for everything.
    "nn.LSTM": Published(lambda: nn.LSTM(40, 64, num_layers=2), [(r"", DEFAULT)], "default"),
    # Ours: parameterization.py.
    "MLP, NTK (widthwise)": Published(
        lambda: mlp(
            input_shape=(8, 8), num_classes=10, base_width=64, depth=2, parameterization="ntk"
        ).build(1),
        [(r"bias", "zeros"), (r"5.weight", "ntk(σ0²=1)"), (r"", "ntk(σ0²=2)")],
        "ntk",
    ),
    "CNN (widthwise)": Published(
        lambda: cnn(
            input_shape=(3, 16, 16), num_classes=10, base_width=16, parameterization="standard"
        ).build(1),
        [(r"bias", "zeros"), (r"Linear", "lecun_normal"), (r"", FAN_IN)],
        "standard",
    ),
}


def expected(name, row):
    place = f"{row.layer} {row.path}"
    return next(scheme for pattern, scheme in PUBLISHED[name].draws if re.search(pattern, place))


@functools.cache
def inspected(name):
    torch.manual_seed(3)
    return inspect(PUBLISHED[name].build())


def misses(found, name):
    """Parameters whose own scheme is not among their matches."""
    wrong = []
    for row in found.rows:
        wanted = expected(name, row)
        right = row.recognition.status == UNKNOWN if wanted == UNKNOWN else wanted in row.matches
        if not right:
            wrong.append((row.path, wanted, row.verdict))
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_parameter_is_recognized_at_the_stated_confidence(name):
    found = inspected(name)
    wrong = misses(found, name)
    drawn = sum(row.recognition.status != "constant" for row in found.rows)
    # More misses than this among so many parameters happen once in 100 times.
    assert len(wrong) <= stats.binom.ppf(0.99, drawn, 1 - CONFIDENCE), wrong


def test_over_all_networks_the_rate_is_the_stated_one():
    rows = sum(
        row.recognition.status != "constant" for name in PUBLISHED for row in inspected(name).rows
    )
    wrong = [miss for name in PUBLISHED for miss in misses(inspected(name), name)]
    assert rows > 250
    assert len(wrong) <= stats.binom.ppf(0.999, rows, 1 - CONFIDENCE), wrong


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameterization_alone(name):
    assert inspected(name).parameterization == PUBLISHED[name].parameterization


def test_weights_are_missed_under_another_network_s_table():
    """The check can fail: ViT's weights against MLP-Mixer's table."""
    torch.manual_seed(3)
    assert len(misses(inspect(small_vit()), "MLP-Mixer (timm)")) > 5


def test_all_convolutions_of_a_resnet_leave_one_scheme():
    """Single layers with fan_in = fan_out are ambiguous; together they are not."""
    found = inspected("ResNet (torchvision)")
    assert found["layer1.0.conv1.weight"].recognition.status == "ambiguous"
    (convolutions,) = (entry for entry in found.common_schemes if entry[0] == "Conv2d")
    assert convolutions[2] == (FAN_OUT,)
