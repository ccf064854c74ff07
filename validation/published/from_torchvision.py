"""Networks of torchvision."""

from functools import partial

from torch import nn
from torchvision.models import (
    MNASNet,
    MobileNetV2,
    MobileNetV3,
    ResNet,
    ShuffleNetV2,
    SwinTransformer,
    VisionTransformer,
)
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.resnet import Bottleneck

from validation.published.base import CLASSES, Architecture, large_images


def mobile_net_v3() -> nn.Module:
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


ARCHITECTURES = {
    "MobileNetV2 (torchvision)": Architecture(
        "residual",
        lambda: MobileNetV2(
            CLASSES, 0.25, [[1, 16, 1, 1], [2, 24, 2, 2]], round_nearest=4, dropout=0.0
        ),
    ),
    "MobileNetV3 (torchvision)": Architecture("residual", mobile_net_v3),
    "MNASNet (torchvision)": Architecture(
        "residual", lambda: MNASNet(0.1, CLASSES, dropout=0.0), large_images, rate_factor=1e-3
    ),
    "ShuffleNetV2 (torchvision)": Architecture(
        "residual", lambda: ShuffleNetV2([1, 1, 1], [8, 8, 16, 16, 24], CLASSES)
    ),
    "ResNet with bottlenecks (torchvision)": Architecture(
        "residual",
        lambda: ResNet(Bottleneck, [1, 1, 1, 1], CLASSES, width_per_group=4),
    ),
    "ViT (torchvision)": Architecture(
        "transformer", lambda: VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=CLASSES)
    ),
    "Swin (torchvision)": Architecture(
        "transformer",
        lambda: SwinTransformer(
            [4, 4], 8, [2, 1], [2, 2], [4, 4], stochastic_depth_prob=0.0, num_classes=CLASSES
        ),
    ),
}
