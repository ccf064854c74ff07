"""Networks of the mup package (Yang et al. 2022), recognized without importing it."""

import importlib
import warnings

import pytest
import torch
from torch import nn

from widthwise.errors import InputError
from widthwise.inspection import compare, inspect

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    mup = pytest.importorskip("mup", reason="mup is not installed")
    importlib.import_module("mup.init")


def bare(width, output_mult=1.0):
    return nn.Sequential(
        nn.Linear(20, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        mup.MuReadout(width, 30, output_mult=output_mult),
    )


def network(width, **options):
    torch.manual_seed(width)
    built = bare(width, **options)
    mup.set_base_shapes(built, bare(64), delta=bare(128))
    return built


def test_defaults_scaled_by_set_base_shapes():
    """Readout: PyTorch's U(±1/√256) times √(256/64) is U(±1/8), with the multiplier 3/4."""
    found = inspect(network(256, output_mult=3.0), learning_rate=0.8)
    readout = found["4.weight"]
    assert readout.multiplier == 0.75
    assert readout.effective_learning_rate == pytest.approx(0.8 * 0.75**2)
    assert readout.verdict == "mup pytorch_default"
    assert readout.expected_std == pytest.approx(1 / 8 / 3**0.5)
    # Fan-in = fan-out.
    assert found["2.weight"].matches == ("mup pytorch_default", "mup uniform(1/√fan_out)")
    assert found["2.bias"].verdict == "mup pytorch_default"
    assert found["2.bias"].expected_std == pytest.approx(1 / 8 / 3**0.5)
    assert found["0.weight"].verdict == "mup pytorch_default"
    assert [row.mup_dims for row in found.rows] == [1, 1, 2, 1, 1, 0]
    assert found.parameterization == "mup"


INITIALIZERS = [
    ("mup kaiming_normal(fan_in, relu)", lambda w: mup.init.kaiming_normal_(w)),
    ("mup kaiming_uniform(fan_in, relu)", lambda w: mup.init.kaiming_uniform_(w)),
    ("mup kaiming_normal(fan_out, relu)", lambda w: mup.init.kaiming_normal_(w, mode="fan_out")),
    ("mup xavier_normal", lambda w: mup.init.xavier_normal_(w)),
    ("mup xavier_uniform", lambda w: mup.init.xavier_uniform_(w)),
    ("mup normal(0.02)", lambda w: mup.init.normal_(w, std=0.02)),
]


@pytest.mark.parametrize(("name", "draw"), INITIALIZERS)
def test_the_package_s_own_initializers(name, draw):
    built = network(256)
    for layer in built:
        if isinstance(layer, nn.Linear):
            draw(layer.weight)
    found = inspect(built)
    for path in ("0.weight", "2.weight", "4.weight"):
        assert name in found[path].matches, found[path].verdict


def test_without_rescaling_the_readout_is_plain():
    """rescale_params=False leaves U(±1/√256): no longer the package's, which would be U(±1/8)."""
    torch.manual_seed(0)
    built = bare(256)
    mup.set_base_shapes(built, bare(64), delta=bare(128), rescale_params=False)
    assert inspect(built)["4.weight"].verdict == "pytorch_default"


@pytest.mark.parametrize("output_mult", [1.0, 8.0])
def test_the_parameterization_of_two_widths(output_mult):
    found = compare(network(64, output_mult=output_mult), network(256, output_mult=output_mult))
    assert (found.widening_factor, found.parameterization) == (4.0, "mup")
    assert found.questions == ()


def test_a_plain_network_of_the_same_shapes_is_not_mup():
    def plain(width):
        return nn.Sequential(
            nn.Linear(20, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 30)
        )

    assert compare(plain(64), plain(256)).parameterization == "default"


def test_a_readout_that_starts_at_zero_is_read_by_its_multiplier():
    def build(width):
        built = network(width)
        nn.init.zeros_(built[4].weight)
        return built

    assert compare(build(64), build(256)).parameterization == "mup"


class SharedReadout(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embedding = nn.Embedding(50, width)
        self.hidden = nn.Linear(width, width)
        self.readout = mup.MuSharedReadout(self.embedding.weight)


def test_a_readout_that_shares_the_embedding_s_weight():
    def build(width):
        torch.manual_seed(width)
        built = SharedReadout(width)
        mup.set_base_shapes(built, SharedReadout(64), delta=SharedReadout(128))
        return built

    row = inspect(build(256))["embedding.weight"]
    assert row.names == ("embedding.weight", "readout.weight")
    assert row.notes == ("as readout.weight with c = 0.25",)
    assert compare(build(64), build(256)).parameterization == "mup"


def test_convolutions():
    def bare_conv(width):
        return nn.Sequential(
            nn.Conv2d(3, width, 3),
            nn.Conv2d(width, width, 3),
            nn.Flatten(1),
            mup.MuReadout(width, 10),
        )

    torch.manual_seed(0)
    built = bare_conv(64)
    mup.set_base_shapes(built, bare_conv(16), delta=bare_conv(32))
    found = inspect(built)
    for path in ("0.weight", "1.weight", "3.weight", "1.bias"):
        assert "mup pytorch_default" in found[path].matches, path


def test_a_readout_without_base_shapes_is_refused():
    with pytest.raises(InputError, match=r"4\.weight: a readout.*set_base_shapes"):
        inspect(bare(64))


def test_tags_do_not_hang_on_to_the_network():
    found = inspect(network(64))
    assert all("infshape" not in vars(row) for row in found.rows)
