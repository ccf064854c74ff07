"""Networks of pytorchcv."""

from pytorchcv.models.cbamresnet import CbamResNet
from pytorchcv.models.diracnetv2 import DiracNetV2
from pytorchcv.models.fractalnet_cifar import CIFARFractalNet
from pytorchcv.models.mobilenet import MobileNet
from pytorchcv.models.nin_cifar import CIFARNIN
from pytorchcv.models.octresnet import OctResNet
from pytorchcv.models.preresnet import PreResNet
from pytorchcv.models.pyramidnet_cifar import CIFARPyramidNet
from pytorchcv.models.resdropresnet_cifar import CIFARResDropResNet
from pytorchcv.models.revnet import RevNet
from pytorchcv.models.senet import SENet
from pytorchcv.models.shakeshakeresnet_cifar import CIFARShakeShakeResNet
from pytorchcv.models.shufflenet import ShuffleNet
from pytorchcv.models.sknet import SKNet
from pytorchcv.models.squeezenet import SqueezeNet
from pytorchcv.models.wrn_cifar import CIFARWRN
from torch import nn

from validation.published.base import CLASSES, Architecture


def small(network: nn.Module) -> nn.Module:
    """Made for images of 224 × 224; the map that is left of ours is averaged whole."""
    whole = network.features if hasattr(network.features, "final_pool") else network.output
    whole.final_pool = nn.AdaptiveAvgPool2d(1)
    return network


SIZE = {"in_size": (32, 32), "num_classes": CLASSES}

ARCHITECTURES = {
    "SqueezeNet (pytorchcv)": Architecture(
        "convolutional",
        lambda: small(SqueezeNet([[16, 16], [16]], [[0, 1], [0]], 3, 16, **SIZE)),
    ),
    "network in network (pytorchcv)": Architecture(
        "convolutional",
        lambda: CIFARNIN([[16, 8], [16, 8], [16]], [5, 5, 3], num_classes=CLASSES),
    ),
    "MobileNet (pytorchcv)": Architecture(
        "convolutional", lambda: small(MobileNet([[8], [16, 16], [16]], False, **SIZE))
    ),
    "DiracNetV2 (pytorchcv)": Architecture(
        "convolutional", lambda: small(DiracNetV2([[8, 8], [16, 16]], 8, **SIZE))
    ),
    "PreResNet (pytorchcv)": Architecture(
        "residual", lambda: small(PreResNet([[8, 8], [16]], 8, False, False, **SIZE))
    ),
    "Wide ResNet (pytorchcv)": Architecture(
        "residual", lambda: CIFARWRN([[8], [16], [16]], 8, num_classes=CLASSES)
    ),
    "PyramidNet (pytorchcv)": Architecture(
        "residual",
        lambda: CIFARPyramidNet([[8], [12], [16]], 8, False, num_classes=CLASSES),
    ),
    "SENet (pytorchcv)": Architecture(
        "residual", lambda: small(SENet([[32], [32]], 8, 4, 16, **SIZE))
    ),
    "CBAM-ResNet (pytorchcv)": Architecture(
        "residual", lambda: small(CbamResNet([[16], [16]], 16, False, **SIZE))
    ),
    "SKNet (pytorchcv)": Architecture("residual", lambda: small(SKNet([[128], [128]], 16, **SIZE))),
    "ShuffleNet (pytorchcv)": Architecture(
        "residual", lambda: small(ShuffleNet([[24, 24], [48, 48]], 12, 3, **SIZE))
    ),
    "octave ResNet (pytorchcv)": Architecture(
        "residual", lambda: small(OctResNet([[16], [16], [16]], 8, False, False, **SIZE))
    ),
    "RevNet (pytorchcv)": Architecture(
        "residual", lambda: small(RevNet([[16, 16], [16, 16]], 8, False, **SIZE))
    ),
    "ResNet with dropped layers (pytorchcv)": Architecture(
        "residual",
        lambda: CIFARResDropResNet(
            [[8], [16], [16]], 8, False, [0.9, 0.8, 0.7], num_classes=CLASSES
        ),
    ),
    "shake-shake ResNet (pytorchcv)": Architecture(
        "residual",
        lambda: CIFARShakeShakeResNet([[8], [16], [16]], 8, False, num_classes=CLASSES),
    ),
    "FractalNet (pytorchcv)": Architecture(
        "convolutional",
        lambda: CIFARFractalNet([8, 8, 16, 16, 16], 2, [0.0] * 5, 0.15, 0.5, num_classes=CLASSES),
    ),
}
