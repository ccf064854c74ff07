"""Networks of packages that hold one idea each: mixers and minimal recurrent networks."""

from g_mlp_pytorch import gMLPVision
from minGRU_pytorch import minGRU
from minGRU_pytorch.minLSTM import minLSTM
from mlp_mixer_pytorch import MLPMixer
from mlp_mixer_pytorch.permutator import Permutator
from res_mlp_pytorch import ResMLP

from validation.published.base import CLASSES, SERIES, Architecture, Averaged, series

SMALL = {"image_size": 32, "patch_size": 8, "dim": 12, "depth": 2, "num_classes": CLASSES}

ARCHITECTURES = {
    "MLP-Mixer (mlp-mixer-pytorch)": Architecture("mixer", lambda: MLPMixer(channels=3, **SMALL)),
    "Permutator (mlp-mixer-pytorch)": Architecture(
        "mixer", lambda: Permutator(segments=4, **SMALL)
    ),
    "gMLP (g-mlp-pytorch)": Architecture("mixer", lambda: gMLPVision(ff_mult=2, **SMALL)),
    "ResMLP (res-mlp-pytorch)": Architecture("mixer", lambda: ResMLP(**SMALL)),
    "minGRU (minGRU-pytorch)": Architecture(
        "recurrent",
        lambda: Averaged(minGRU(SERIES[1], expansion_factor=2.0), SERIES[1]),
        series,
    ),
    "minLSTM (minGRU-pytorch)": Architecture(
        "recurrent",
        lambda: Averaged(minLSTM(SERIES[1], expansion_factor=2.0), SERIES[1]),
        series,
    ),
}
