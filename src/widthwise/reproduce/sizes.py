"""The tables behind the presets: networks, sizes, data, and where the best noise scale is sought.

Every number here was chosen by us, none is the paper's (see :mod:`widthwise.reproduce.paper`). At
"minutes" the regions were found by short trials on Fashion-MNIST; the larger sizes keep them and
reach lower, because more training examples move the optimum to smaller ε/B (Smith & Le 2018,
arXiv:1710.06451: εN/B is what counts).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

SIZES: Mapping[str, str] = MappingProxyType(
    {
        "minutes": "two cores, all claims together in about half an hour",
        "hours": "a few cores, a study in an hour or a few",
        "paper": "a GPU or a cluster; prints its cost and asks before it starts",
    }
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set.

    Attributes:
        name: as `widthwise datasets` lists it.
        bundled: what stands for it at "minutes".
        shape: of one example.
        num_train, num_test: all there are.
        images: whether convolutions can read it.
    """

    name: str
    bundled: str
    shape: tuple[int, ...]
    num_train: int
    num_test: int
    images: bool = True


DATA: Mapping[str, Source] = MappingProxyType(
    {
        "fashion-mnist": Source(
            name="fashion-mnist",
            bundled="fashion-mnist-mini",
            shape=(1, 28, 28),
            num_train=60_000,
            num_test=10_000,
        ),
        "mnist": Source(
            name="mnist", bundled="mnist", shape=(1, 28, 28), num_train=60_000, num_test=10_000
        ),
        "cifar10": Source(
            name="cifar10", bundled="cifar10", shape=(3, 32, 32), num_train=50_000, num_test=10_000
        ),
        "mnist1d": Source(
            name="mnist1d",
            bundled="mnist1d",
            shape=(40,),
            num_train=4_000,
            num_test=1_000,
            images=False,
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much of a network is run at one size.

    Attributes:
        base_width, depth: of the family.
        widening_factors: w.
        num_train, num_test: examples; None takes all.
        longer: physical time, as a multiple of the region's.
        lower_octaves: how much lower than the region's the noise scales reach.
        max_runs, max_seeds, runs_at_once, seeds_at_once, exponent_precision: of the search.
        collapse_widths, collapse_seeds: of the test of the collapse.
        evaluations: of a run, evenly spaced; the last quarter of them counts.
        pack: runs in a pack; None measures it.
    """

    base_width: int
    depth: int
    widening_factors: tuple[int, ...]
    num_train: int | None
    num_test: int | None
    longer: float
    lower_octaves: int
    max_runs: int
    max_seeds: int
    runs_at_once: int
    seeds_at_once: int
    exponent_precision: float
    collapse_widths: tuple[int, ...] = ()
    collapse_seeds: int = 0
    evaluations: int = 20
    pack: int | None = None


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Settings of equal noise scale.

    Attributes:
        effective_rates: momentum → ε/(1 − m) of its settings.
        rate_over_batch: ε/(B(1 − m)) at which they are compared.
        physical_time: τ.
    """

    effective_rates: Mapping[float, tuple[float, ...]]
    rate_over_batch: tuple[float, ...]
    physical_time: float


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where a family is searched.

    Attributes:
        learning_rate: the largest ε, the same at all widths.
        highest: the highest ḡ, meant to be beyond the optimum of every width of "minutes".
        octaves: factors of two between the highest and the lowest noise scale; what lies lower
            takes more than minutes.
        per_octave: noise scales an octave.
        physical_time: τ = ε·steps/(1 − m) at which accuracy at "minutes" has settled or, for the
            convolutional families, as long as minutes allow.
        ghost_batch_size: examples over which batch norm takes its statistics at every B, so that
            B changes the noise and not the network.
        collapse: levels of the test of the collapse, where there is one.
    """

    learning_rate: float
    highest: float
    octaves: int
    physical_time: float
    ghost_batch_size: int | None = None
    collapse: Levels | None = None
    per_octave: int = 2


BATCH_NORM = 4  # examples of a ghost batch

# (kind, parameterization, normalization)
REGIONS: Mapping[tuple[str, str, str], Region] = MappingProxyType(
    {
        ("mlp", "standard", "none"): Region(
            # Half of what the rule of a quarter allows: at that, noise makes runs diverge before
            # accuracy has passed its peak.
            learning_rate=0.04,
            highest=0.12,
            octaves=6,
            # Divergence ends its curves near the top: half octaves leave it as uncertain as that.
            per_octave=4,
            physical_time=500.0,
            collapse=Levels(
                effective_rates={0.0: (0.02, 0.04, 0.08, 0.16), 0.9: (0.04,)},
                rate_over_batch=(0.0025, 0.005, 0.01),
                physical_time=300.0,
            ),
        ),
        ("mlp", "ntk", "none"): Region(
            learning_rate=6.0,
            highest=2.0,
            octaves=6,
            physical_time=50_000.0,
            collapse=Levels(
                effective_rates={0.0: (2.0, 4.0, 8.0, 16.0), 0.9: (4.0,)},
                rate_over_batch=(0.5, 1.0, 2.0),
                physical_time=30_000.0,
            ),
        ),
        ("cnn", "standard", "none"): Region(
            learning_rate=0.05, highest=0.1, octaves=5, physical_time=125.0
        ),
        ("cnn", "ntk", "none"): Region(
            learning_rate=2.0, highest=1.0, octaves=5, physical_time=4000.0
        ),
        ("cnn", "standard", "batch"): Region(
            learning_rate=0.2,
            highest=0.1,
            octaves=4,
            physical_time=400.0,
            ghost_batch_size=BATCH_NORM,
        ),
        ("wide_resnet", "standard", "none"): Region(
            learning_rate=0.05, highest=0.064, octaves=4, physical_time=60.0
        ),
        ("wide_resnet", "ntk", "none"): Region(
            learning_rate=0.25, highest=0.125, octaves=4, physical_time=300.0
        ),
        ("wide_resnet", "standard", "batch"): Region(
            learning_rate=0.1,
            highest=0.03,
            octaves=3,
            physical_time=120.0,
            ghost_batch_size=BATCH_NORM,
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network of the paper.

    Attributes:
        kind: of the family in a specification.
        words: what it is.
        extents: size → how much of it is run.
    """

    kind: str
    words: str
    extents: Mapping[str, Extent]


def _mlp(depth: int) -> dict[str, Extent]:
    shared: dict[str, Any] = {"base_width": 32, "depth": depth}
    return {
        "minutes": Extent(
            widening_factors=(1, 2, 4, 8),
            num_train=1024,
            num_test=5000,
            longer=1.0,
            lower_octaves=0,
            max_runs=600,
            max_seeds=32,
            runs_at_once=48,
            seeds_at_once=6,
            exponent_precision=0.4,
            collapse_widths=(2, 8),
            collapse_seeds=4,
            evaluations=12,
            **shared,
        ),
        "hours": Extent(
            widening_factors=(1, 2, 4, 8),
            num_train=4096,
            num_test=None,
            longer=1.5,
            lower_octaves=1,
            max_runs=800,
            max_seeds=64,
            runs_at_once=64,
            seeds_at_once=6,
            exponent_precision=0.3,
            collapse_widths=(2, 8),
            collapse_seeds=12,
            **shared,
        ),
        "paper": Extent(
            widening_factors=(1, 2, 4, 8, 16, 32),
            num_train=None,
            num_test=None,
            longer=4.0,
            lower_octaves=4,
            max_runs=4000,
            max_seeds=64,
            runs_at_once=256,
            seeds_at_once=6,
            exponent_precision=0.2,
            collapse_widths=(2, 8, 32),
            collapse_seeds=20,
            **shared,
        ),
    }


_CNN = {
    "minutes": Extent(
        base_width=2,
        depth=2,
        widening_factors=(1, 2, 4),
        num_train=512,
        num_test=2000,
        longer=1.0,
        lower_octaves=0,
        max_runs=48,
        max_seeds=12,
        runs_at_once=24,
        seeds_at_once=2,
        exponent_precision=0.4,
        pack=8,
    ),
    "hours": Extent(
        base_width=4,
        depth=2,
        widening_factors=(1, 2, 4, 8),
        num_train=2048,
        num_test=None,
        longer=1.5,
        lower_octaves=1,
        max_runs=400,
        max_seeds=32,
        runs_at_once=32,
        seeds_at_once=2,
        exponent_precision=0.3,
    ),
    "paper": Extent(
        base_width=8,
        depth=3,
        widening_factors=(1, 2, 4, 8, 16),
        num_train=None,
        num_test=None,
        longer=4.0,
        lower_octaves=4,
        max_runs=2000,
        max_seeds=64,
        runs_at_once=128,
        seeds_at_once=2,
        exponent_precision=0.2,
    ),
}

_WIDE_RESNET = {
    "minutes": Extent(
        base_width=2,
        depth=10,
        widening_factors=(1, 3),
        num_train=256,
        num_test=500,
        longer=1.0,
        lower_octaves=0,
        max_runs=24,
        max_seeds=6,
        runs_at_once=16,
        seeds_at_once=2,
        exponent_precision=0.4,
        pack=4,
    ),
    "hours": Extent(
        base_width=4,
        depth=10,
        widening_factors=(1, 2, 4),
        num_train=1024,
        num_test=2000,
        longer=1.5,
        lower_octaves=1,
        max_runs=192,
        max_seeds=16,
        runs_at_once=24,
        seeds_at_once=2,
        exponent_precision=0.3,
    ),
    "paper": Extent(
        base_width=16,
        depth=16,
        widening_factors=(1, 2, 4, 8),
        num_train=None,
        num_test=None,
        longer=4.0,
        lower_octaves=4,
        max_runs=1000,
        max_seeds=32,
        runs_at_once=64,
        seeds_at_once=2,
        exponent_precision=0.2,
    ),
}

NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "mlp-1": Network(kind="mlp", words="One hidden layer", extents=_mlp(1)),
        "mlp-2": Network(kind="mlp", words="Two hidden layers", extents=_mlp(2)),
        "mlp-3": Network(kind="mlp", words="Three hidden layers", extents=_mlp(3)),
        "cnn": Network(kind="cnn", words="ConvNet", extents=_CNN),
        "wide-resnet": Network(kind="wide_resnet", words="Wide ResNet", extents=_WIDE_RESNET),
    }
)
