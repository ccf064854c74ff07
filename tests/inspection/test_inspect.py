"""What `inspect` says of single layers, odd parameters and hyper-parameters; what it leaves."""

import copy
import math
import pickle
import re

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from widthwise.errors import InputError
from widthwise.families.layers import ScaledConv2d, ScaledLinear
from widthwise.inspection import inspect


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# Layer, parameter, (fan_in, fan_out), as torch.nn.init counts them: size(1) and size(0) times the
# kernel. A bias has its weight's.
FANS = [
    (lambda: nn.Linear(30, 50), "weight", (30, 50)),
    (lambda: nn.Linear(30, 50), "bias", (30, 50)),
    (lambda: nn.Conv1d(6, 8, 5), "weight", (30, 40)),
    (lambda: nn.Conv2d(6, 8, (3, 5)), "weight", (90, 120)),
    (lambda: nn.Conv3d(2, 4, 3), "weight", (54, 108)),
    (lambda: nn.Conv2d(6, 8, 3, groups=2), "weight", (27, 72)),
    (lambda: nn.Conv2d(6, 8, 3, groups=2), "bias", (27, 72)),
    (lambda: nn.ConvTranspose2d(6, 8, 3), "weight", (72, 54)),
    (lambda: nn.MultiheadAttention(12, 2), "in_proj_weight", (12, 36)),
    (lambda: nn.MultiheadAttention(12, 2), "in_proj_bias", (12, 36)),
    (lambda: nn.MultiheadAttention(12, 2, kdim=5, vdim=7), "k_proj_weight", (5, 12)),
    (lambda: nn.Embedding(40, 9), "weight", (9, 40)),
    (lambda: nn.LSTM(5, 7), "weight_ih_l0", (5, 28)),
    (lambda: nn.LSTM(5, 7), "weight_hh_l0", (7, 28)),
    (lambda: nn.LSTM(5, 7), "bias_ih_l0", (5, 28)),
    (lambda: nn.LayerNorm(9), "weight", (None, None)),
    (lambda: nn.BatchNorm2d(9), "bias", (None, None)),
]


@pytest.mark.parametrize(("build", "name", "fans"), FANS)
def test_fans(build, name, fans):
    row = inspect(build())[name]
    assert (row.fan_in, row.fan_out) == fans


# What PyTorch's own reset_parameters draws, in layers large enough to decide.
DEFAULTS = [
    (lambda: nn.Linear(100, 260), {"weight": "pytorch_default", "bias": "pytorch_default"}),
    (lambda: nn.Conv1d(20, 300, 5), {"weight": "pytorch_default", "bias": "pytorch_default"}),
    (lambda: nn.Conv3d(5, 90, 3), {"weight": "pytorch_default", "bias": "pytorch_default"}),
    (lambda: nn.Conv2d(40, 80, 3, groups=4), {"weight": "pytorch_default"}),
    (lambda: nn.ConvTranspose2d(30, 80, 3), {"weight": "pytorch_default"}),
    (lambda: nn.LSTM(11, 90), {"weight_ih_l0": "pytorch_default", "bias_hh_l0": "pytorch_default"}),
    (
        # Its fan-out is the hidden size.
        lambda: nn.RNNCell(30, 50),
        {"weight_ih": "ambiguous: pytorch_default or uniform(1/√fan_out)"},
    ),
    (lambda: nn.Bilinear(20, 30, 40), {"weight": "pytorch_default"}),
    (lambda: nn.MultiheadAttention(60, 2), {"in_proj_weight": "xavier_uniform"}),
    (lambda: nn.MultiheadAttention(60, 2), {"in_proj_bias": "zeros", "out_proj.bias": "zeros"}),
    (lambda: nn.Embedding(200, 30), {"weight": "normal(1)"}),
    (lambda: nn.Embedding(8, 600, padding_idx=3), {"weight": "normal(1)"}),
    (lambda: nn.GroupNorm(2, 8), {"weight": "ones", "bias": "zeros"}),
    (lambda: nn.PReLU(4), {"weight": "constant 0.25"}),
]


@pytest.mark.parametrize(("build", "verdicts"), DEFAULTS)
def test_pytorch_s_own_layers(build, verdicts):
    found = inspect(build())
    assert {name: found[name].verdict for name in verdicts} == verdicts


def test_few_values_decide_nothing():
    row = inspect(nn.Linear(64, 10))["bias"]
    assert row.recognition.status == "undecided"
    assert "10 values decide little" in row.verdict
    assert "pytorch_default" in row.matches


def test_one_value_decides_nothing():
    module = nn.ParameterList([nn.Parameter(torch.tensor(0.37))])
    assert inspect(module)["0"].verdict == "undecided: one value, 0.37, decides nothing"


@pytest.mark.parametrize("change", [lambda w: w * 0.9, lambda w: w * 1.1, lambda w: w + 0.02])
def test_what_no_scheme_draws_is_unknown(change):
    layer = nn.Linear(100, 260)
    with torch.no_grad():
        layer.weight.copy_(change(layer.weight))
    row = inspect(layer)["weight"]
    assert (row.recognition.status, row.matches) == ("unknown", ())
    assert row.verdict.startswith("unknown (kurtosis")
    assert inspect(layer).parameterization is None


def test_trained_looking_weights_are_unknown():
    layer = nn.Linear(100, 260)
    with torch.no_grad():  # heavy tails
        layer.weight.copy_(torch.distributions.StudentT(4.0).sample((260, 100)) * 0.05)
    assert inspect(layer)["weight"].recognition.status == "unknown"


def test_equal_fans_are_ambiguous_and_said_so():
    layer = nn.Linear(128, 128)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    row = inspect(layer)["weight"]
    assert row.recognition.status == "ambiguous"
    assert row.verdict == (
        "ambiguous: kaiming_normal(fan_in, relu) or kaiming_normal(fan_out, relu) or "
        "xavier_normal(relu)"
    )


@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
@pytest.mark.parametrize("build", [lambda: nn.Linear(40, 90), lambda: nn.Conv2d(8, 20, 3)])
def test_orthogonal(build, gain):
    layer = build()
    nn.init.orthogonal_(layer.weight, gain)
    assert inspect(layer)["weight"].verdict == f"orthogonal (gain {gain:.4g})"


def test_identity():
    layer = nn.Linear(20, 20)
    nn.init.eye_(layer.weight)
    assert inspect(layer)["weight"].verdict == "identity"


def test_almost_orthogonal_is_not():
    layer = nn.Linear(40, 90)
    nn.init.orthogonal_(layer.weight)
    with torch.no_grad():
        layer.weight.add_(0.01 * torch.randn_like(layer.weight))
    assert "orthogonal" not in inspect(layer)["weight"].matches


def test_hyper_parameters():
    """Standard: W ~ N(0, 1/64), ε = 0.1, B = 32, m = 0.5: ε/(B(1−m)) = 1/160, ḡ = 64/160 = 0.4.

    NTK: W ~ N(0, 1), c = 1/8: ḡ = 1/160; the standard form has the rate c²ε = 0.1/64 and the
    variance c²σ² = 1/64: the same ḡ.
    """
    standard, ntk = nn.Linear(64, 200), ScaledLinear(64, 200, multiplier=1 / 8)
    exact = torch.tensor([1.0, -1.0]).repeat(200, 32)
    with torch.no_grad():
        standard.weight.copy_(exact / 8)
        ntk.weight.copy_(exact)
    found = inspect(nn.Sequential(standard, ntk), learning_rate=0.1, batch_size=32, momentum=0.5)
    assert found["0.weight"].normalized_noise_scale == pytest.approx(0.4, rel=1e-12)
    assert found["0.weight"].effective_learning_rate == 0.1
    assert found["1.weight"].normalized_noise_scale == pytest.approx(1 / 160, rel=1e-12)
    assert found["1.weight"].effective_learning_rate == pytest.approx(0.1 / 64, rel=1e-12)
    assert found["0.bias"].normalized_noise_scale is None
    assert found["1.bias"].effective_learning_rate == 0.1
    assert found["1.weight"].multiplier == 1 / 8


def test_without_hyper_parameters_there_is_no_noise_scale():
    found = inspect(nn.Linear(3, 3))
    assert found["weight"].normalized_noise_scale is None
    assert found["weight"].effective_learning_rate is None
    assert inspect(nn.Linear(3, 3), learning_rate=1.0)["weight"].normalized_noise_scale is None


@given(
    rate=st.floats(1e-4, 10),
    batch=st.integers(1, 512),
    momentum=st.floats(0, 0.99),
    scale=st.floats(0.1, 10),
)
@settings(max_examples=25)
def test_loss_units_cancel(rate, batch, momentum, scale):
    """ḡ is linear in ε and inverse in σ²: weights × s and ε × s² change nothing."""
    layer = nn.Linear(7, 11).double()
    hyper = {"batch_size": batch, "momentum": momentum}
    before = inspect(layer, learning_rate=rate, **hyper)["weight"].normalized_noise_scale
    with torch.no_grad():
        layer.weight.mul_(scale)
    after = inspect(layer, learning_rate=rate * scale**2, **hyper)["weight"].normalized_noise_scale
    assert after == pytest.approx(before, rel=1e-9)


def test_ntk_convolution():
    layer = ScaledConv2d(20, 40, 3, multiplier=1 / math.sqrt(180))
    nn.init.normal_(layer.weight, std=math.sqrt(2))
    found = inspect(layer)
    assert found["weight"].verdict == "ntk(σ0²=2)"
    assert found.parameterization == "ntk"


def test_another_multiplier_is_not_ntk():
    layer = ScaledLinear(100, 100, multiplier=0.2)
    nn.init.normal_(layer.weight)
    found = inspect(layer)
    assert found["weight"].verdict == "normal(1)"
    assert found.parameterization is None


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(90, 40)
        self.readout = nn.Linear(40, 90, bias=False)
        self.readout.weight = self.embedding.weight
        self.norm = nn.LayerNorm(40)
        self.again = self.norm


def test_shared_parameters_have_one_row_with_all_names():
    found = inspect(Tied())
    assert [row.names for row in found.rows] == [
        ("embedding.weight", "readout.weight"),
        ("norm.weight", "again.weight"),
        ("norm.bias", "again.bias"),
    ]
    assert found["readout.weight"] is found["embedding.weight"]
    with pytest.raises(KeyError):
        found["nothing"]


def modules_of_all_kinds():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.LSTM(8, 4),
        ScaledLinear(8, 4, multiplier=0.5),
    )
    return nn.ModuleDict({"network": network, "tied": Tied()})


def test_the_module_is_left_as_it_was():
    module = modules_of_all_kinds()
    before = copy.deepcopy(module)
    attributes = [set(vars(layer)) for layer in module.modules()]
    of_tensors = [set(vars(p)) for p in module.parameters()]
    random_state = torch.get_rng_state()
    inspect(module, learning_rate=0.1, batch_size=4)
    assert [set(vars(layer)) for layer in module.modules()] == attributes
    assert [set(vars(p)) for p in module.parameters()] == of_tensors
    assert torch.equal(torch.get_rng_state(), random_state)
    after, earlier = module.state_dict(), before.state_dict()
    assert after.keys() == earlier.keys()
    assert all(torch.equal(after[name], earlier[name]) for name in after)
    copy.deepcopy(module)


def test_rows_hold_plain_values():
    """Nothing of the network hangs on to them: they survive pickling as text and numbers."""
    found = inspect(modules_of_all_kinds(), learning_rate=0.1, batch_size=4)
    content = pickle.dumps(found)
    assert not re.search(rb"(?<!py)torch", content)
    assert pickle.loads(content) == found


def test_a_spectrally_normed_layer_is_not_advanced():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(50, 260))
    before = copy.deepcopy(layer.state_dict())
    found = inspect(layer)
    assert found["parametrizations.weight.original"].verdict == "pytorch_default"
    assert found["bias"].verdict == "pytorch_default"
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile's own
def test_a_compiled_module_is_looked_into():
    found = inspect(torch.compile(nn.Linear(4, 3)))
    assert [row.path for row in found.rows] == ["weight", "bias"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions(dtype):
    layers = nn.Sequential(nn.Linear(100, 260), nn.Linear(260, 100)).to(dtype)
    nn.init.kaiming_normal_(layers[1].weight)
    found = inspect(layers)
    assert "pytorch_default" in found["0.weight"].matches
    assert found["1.weight"].matches[0] == "kaiming_normal(fan_in, relu)"


class Odd(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.odd = nn.Parameter(value, requires_grad=False)


NOT_JUDGED = [
    (torch.arange(5), "int64"),
    (torch.ones(5, dtype=torch.bool), "bool"),
    (torch.zeros(4, 4, dtype=torch.complex64), "complex"),
    (torch.zeros(4, 4).to(torch.float8_e5m2), "too coarse"),
    (torch.zeros(0, 3), "no values"),
]


@pytest.mark.parametrize(("value", "reason"), NOT_JUDGED)
def test_what_cannot_be_judged_is_said(value, reason):
    row = inspect(Odd(value))["odd"]
    assert row.verdict.startswith("not judged")
    assert reason in row.verdict
    assert math.isnan(row.std)


def test_weights_that_are_not_finite():
    assert inspect(Odd(torch.tensor([1.0, float("nan")])))["odd"].verdict == (
        "unknown (not all values are finite)"
    )


BAD = [
    (lambda: inspect(nn.LazyLinear(4)), "weight is lazy.*run one batch"),
    (lambda: inspect(nn.Linear(3, 4, device="meta")), "weight is on the meta device.*to_empty"),
    (lambda: inspect(torch.ones(3)), "needs a torch.nn.Module, got Tensor"),
    (lambda: inspect(nn.Linear(3, 4), confidence=1.0), "confidence must lie in"),
    (lambda: inspect(nn.Linear(3, 4), batch_size=4), "batch_size=4 alone.*learning_rate"),
    (lambda: inspect(nn.Linear(3, 4), learning_rate=-1.0), "learning_rate"),
    (lambda: inspect(nn.Linear(3, 4), learning_rate=1.0, batch_size=0), "batch_size"),
    (lambda: inspect(nn.Linear(3, 4), momentum=1.0), "momentum"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_nothing_to_inspect():
    assert str(inspect(nn.ReLU())) == "no parameters"
    assert inspect(nn.ReLU()).parameterization is None


def test_table_rows_and_frame():
    found = inspect(nn.Sequential(nn.Linear(100, 260), nn.ReLU()), learning_rate=0.1, batch_size=2)
    lines = str(found).splitlines()
    assert lines[0].split() == [
        *("parameter", "layer", "shape", "fan-in", "std", "expected", "c", "c²ε", "ḡ"),
        "initialization",
    ]
    assert lines[1].split()[:4] == ["0.weight", "Linear", "260×100", "100"]
    assert lines[1].endswith("pytorch_default")
    rows = found.to_rows()
    assert rows[0]["scheme_stds"]["pytorch_default"] == pytest.approx(0.1 / math.sqrt(3))
    frame = found.to_frame()
    assert frame["path"].to_list() == ["0.weight", "0.bias"]
    assert frame["std of lecun_normal"].to_list() == [pytest.approx(0.1), None]
    assert frame.schema["num_elements"] == pl.Int64


def test_plain_values():
    found = inspect(nn.Linear(1, 3), learning_rate=0.1, batch_size=2)
    weight = found["weight"]
    content = found.to_dict()
    assert content["parameters"][0] == {
        "path": "weight",
        "names": ["weight"],
        "layer": "Linear",
        "role": "weight",
        "shape": [3, 1],
        "dtype": "float32",
        "num_elements": 3,
        "fan_in": 1,
        "fan_out": 3,
        "std": weight.std,
        "mean": weight.mean,
        "std_error": weight.std_error,
        "multiplier": 1.0,
        "mup_dims": None,
        "status": weight.recognition.status,
        "matches": list(weight.matches),
        "expected_std": weight.expected_std,
        "verdict": weight.verdict,
        "scheme_stds": dict(weight.recognition.scheme_stds),
        "effective_learning_rate": 0.1,
        "normalized_noise_scale": weight.normalized_noise_scale,
        "notes": list(weight.notes),
    }
    assert {name: content[name] for name in content if name != "parameters"} == {
        "parameterization": found.parameterization,
        "common_schemes": [],
        "confidence": 0.999,
        "learning_rate": 0.1,
        "batch_size": 2,
        "momentum": 0.0,
    }


def test_what_cannot_be_measured_stays_not_a_number():
    counts = nn.Embedding.from_pretrained(torch.ones(2, 2, dtype=torch.int64))
    assert math.isnan(inspect(counts)["weight"].to_dict()["std"])
