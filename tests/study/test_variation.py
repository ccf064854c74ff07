"""Families that do not widen, ignore the seed, or draw from elsewhere: said before training."""

import re

import pytest
import torch
from tiny_studies import clouds, fields, in_this_process
from torch import nn

from widthwise.errors import InputError
from widthwise.study import Study
from widthwise.study.context import make_context
from widthwise.study.spec import StudySpec
from widthwise.study.variation import parameterization_doubts

HEAD = """
import functools
import random

import numpy as np
import torch
from torch import nn

def net(w):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4 * w), nn.ReLU(), nn.Linear(4 * w, 3))

def filled(w, fill):
    module = net(w)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.as_tensor(fill(tuple(p.shape))).reshape(p.shape))
    return module

class Scaled(nn.Module):
    def __init__(self, body, scale):
        super().__init__()
        self.body, self.scale = body, scale
    def forward(self, x):
        return self.scale * self.body(x)

"""
NOT_WIDENED = {
    "ignored": "def build(w): return net(1)",
    "default": "def build(w, base=2): return net(base)",
    "rounded": "def build(w): return net(1 + int(w) // 3)",
}
ONE_OBJECT = {
    "global": "NET = net(1)\ndef build(w): return NET",
    "cached": "@functools.lru_cache\ndef build(w): return net(w)",
    "drawn again": "NET = net(1)\ndef build(w):\n  NET[1].reset_parameters()\n  return NET",
}
NOT_REPEATABLE = {
    "numpy": ("def build(w): return filled(w, np.random.standard_normal)", "'1.weight' differs"),
    "default_rng": (
        "def build(w): return filled(w, np.random.default_rng().standard_normal)",
        "'1.weight' differs",
    ),
    "python": ("def build(w): return Scaled(net(w), 1 + random.random())", "outputs differ"),
    "counter": (
        "COUNT = [0]\ndef build(w):\n  COUNT[0] += 1\n  return Scaled(net(w), COUNT[0])",
        "outputs differ",
    ),
    "buffer": (
        "def build(w):\n  module = net(w)\n  module[0].register_buffer('x', torch.rand(()))\n"
        "  return Scaled(module, np.random.rand())",
        "outputs differ",
    ),
}
SEED_IGNORED = {
    "seeded": "def build(w):\n  torch.manual_seed(42)\n  return net(w)",
    "constant": "def build(w): return filled(w, np.ones)",
    "even and odd": "def build(w, seed):\n  torch.manual_seed(seed % 2)\n  return net(w)",
}
SOUND = {
    "plain": "def build(w): return net(w)",
    "own generator": (
        "def build(w, seed): return filled(w, np.random.default_rng(seed).standard_normal)"
    ),
    "dropout": "def build(w): return nn.Sequential(net(w), nn.Dropout(0.5))",
    "memory": (
        "def build(w):\n  module = net(w)\n  module.register_buffer('x', torch.empty(99))\n"
        "  return module"
    ),
    "one zero": "def build(w):\n  module = net(w)\n  nn.init.zeros_(module[3].weight)\n"
    "  return module",
}


@pytest.fixture
def begin(tmp_path):
    def create(text, **grid):
        (tmp_path / "nets.py").write_text(HEAD + text)
        grid = {"seeds": 3, **grid}
        spec = fields(family=f"{tmp_path / 'nets.py'}:build", grid=grid)
        return Study.create(tmp_path / "s", spec, data=clouds())

    return create


@pytest.mark.parametrize("text", NOT_WIDENED.values(), ids=NOT_WIDENED)
def test_what_does_not_widen_is_refused(begin, tmp_path, text):
    with pytest.raises(InputError, match=r"build builds equal shapes at 1 and 2; multiply"):
        begin(text)
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_at_one_width_nothing_need_widen(begin):
    begin(NOT_WIDENED["ignored"], widening_factor=1)


@pytest.mark.parametrize("text", ONE_OBJECT.values(), ids=ONE_OBJECT)
def test_one_object_for_all_is_refused(begin, text):
    with pytest.raises(InputError, match="must build a new network at every call"):
        begin(text)


@pytest.mark.parametrize(("text", "what"), NOT_REPEATABLE.values(), ids=NOT_REPEATABLE)
def test_what_draws_from_elsewhere_is_refused(begin, text, what):
    with pytest.raises(InputError, match=f"equal networks for equal seeds, but {what}"):
        begin(text)


@pytest.mark.slow
@pytest.mark.parametrize("text", SEED_IGNORED.values(), ids=SEED_IGNORED)
def test_equal_beginnings_are_said_and_trained(begin, text, monkeypatch, capsys):
    in_this_process(monkeypatch)
    study = begin(text)
    study.run(1, progress=False)
    said = capsys.readouterr().err
    assert "build builds equal weights for the seeds 0 and " in said
    assert "take a parameter `seed`" in said
    assert len(study.results()) == 12


@pytest.mark.slow
def test_one_seed_begins_as_it_likes(begin, monkeypatch, capsys):
    in_this_process(monkeypatch)
    begin(SEED_IGNORED["constant"], seeds=1).run(1, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("text", SOUND.values(), ids=SOUND)
def test_sound_families_pass_in_silence(begin, text, monkeypatch, capsys):
    in_this_process(monkeypatch)
    begin(text).run(1, progress=False)
    assert capsys.readouterr().err == ""


def test_the_callers_generator_is_left_alone(begin):
    torch.manual_seed(3)
    expected = nn.Linear(2, 2).weight
    torch.manual_seed(3)
    begin(SOUND["plain"])
    assert torch.equal(nn.Linear(2, 2).weight, expected)


LINEAR = "def build(w): return stack(w, nn.Linear)"
SCALED = """
from widthwise.families.layers import linear, weight_generator
def build(w, seed):
    own = weight_generator(seed)
    return stack(w, lambda n, m: linear({!r}, n, m, gain=2.0, bias=True, generator=own))
"""
README = """
def build(widening_factor):
    width = 16 * widening_factor
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))
"""
BY_HAND = """
class ByHand(nn.Linear):
    def __init__(self, n, m):
        super().__init__(n, m)
        nn.init.normal_(self.weight), nn.init.zeros_(self.bias)
    def forward(self, x):
        return nn.functional.linear(x, self.weight / self.in_features**0.5, self.bias)
def build(w): return stack(w, ByHand)
"""
KAIMING = """
def kaiming(n, m):
    layer = nn.Linear(n, m)
    nn.init.kaiming_normal_(layer.weight)
    return layer
def build(w): return stack(w, kaiming)
"""
STACK = """
def stack(w, layer):
    return nn.Sequential(nn.Flatten(), layer(6, 64 * w), nn.ReLU(), layer(64 * w, 64 * w),
                         nn.ReLU(), layer(64 * w, 3))
"""
CONTRADICTED = {
    "PyTorch's own": (LINEAR, "ntk", "default", "falls as 1/w"),
    "Kaiming": (KAIMING, "ntk", "standard", "falls as 1/w"),
    "scaled, ntk": (SCALED.format("ntk"), "standard", "ntk", "is the same at every width"),
    "ntk by hand": (BY_HAND, "default", "ntk", "is the same at every width"),
}
CONSISTENT = {
    "PyTorch's own": (LINEAR, "default"),
    "PyTorch's own as standard": (LINEAR, "standard"),
    "as mup": (LINEAR, "mup"),
    "the example of README": (README, "standard"),
    "Kaiming": (KAIMING, "standard"),
    "Kaiming as default": (KAIMING, "default"),
    "scaled": (SCALED.format("standard"), "standard"),
    "scaled, ntk": (SCALED.format("ntk"), "ntk"),
    "ntk by hand": (BY_HAND, "ntk"),
}
# What inspection does not see through.
UNCLEAR = {
    "constant": "def build(w): return filled(w, np.ones)",
    "few values": "def build(w): return filled(w, np.random.default_rng(0).standard_normal)",
    "both": KAIMING.replace(
        "return stack(w, kaiming)",
        "return nn.Sequential(stack(w, kaiming), nn.Linear(3, 64 * w), by_hand(64 * w))",
    )
    + BY_HAND.replace("def build(w)", "def unused(w)")
    + "def by_hand(n): return ByHand(n, n)",
    "lazy": "def build(w): return stack(w, lambda n, m: nn.LazyLinear(m))",
}


@pytest.fixture
def doubts(tmp_path):
    def find(text, parameterization, widths=(1, 4)):
        (tmp_path / "nets.py").write_text(HEAD + STACK + text)
        family = {"kind": f"{tmp_path / 'nets.py'}:build", "parameterization": parameterization}
        spec = StudySpec.parse(fields(family=family, grid={"widening_factor": list(widths)}))
        return parameterization_doubts(make_context(spec, clouds()))

    return find


@pytest.mark.parametrize(
    ("text", "declared", "remedy", "how"), CONTRADICTED.values(), ids=CONTRADICTED
)
def test_a_parameterization_that_the_weights_contradict(doubts, text, declared, remedy, how):
    (doubt,) = doubts(text, declared)
    assert f"build is declared '{declared}', whose σ_init² " in doubt
    assert f"the σ² of its weights {how} ('3.weight': " in doubt
    assert f'begin a study with parameterization = "{remedy}" under [family]' in doubt
    assert doubts(text, remedy) == []
    assert doubts(text, declared, widths=(2,)) == []


def test_the_variances_are_said(doubts):
    """PyTorch draws of variance 1/(3 fan-in)."""
    (doubt,) = doubts(LINEAR, "ntk", widths=(1, 2, 4))
    found = re.search(r"'3.weight': (\S+) at 1 and (\S+) at 4\)", doubt)
    assert [float(v) for v in found.groups()] == pytest.approx([1 / 192, 1 / 768], rel=0.05)


@pytest.mark.parametrize(("text", "declared"), CONSISTENT.values(), ids=CONSISTENT)
def test_what_is_as_declared_passes_in_silence(doubts, text, declared):
    assert doubts(text, declared) == []


@pytest.mark.parametrize("declared", ["standard", "ntk"])
@pytest.mark.parametrize("text", UNCLEAR.values(), ids=UNCLEAR)
def test_what_cannot_be_told_passes_in_silence(doubts, text, declared):
    assert doubts(text, declared) == []


def test_built_in_families_have_no_doubts():
    context = make_context(StudySpec.parse(fields()), clouds())
    assert parameterization_doubts(context) == []


@pytest.mark.slow
def test_a_contradiction_is_said_and_trained(tmp_path, monkeypatch, capsys):
    in_this_process(monkeypatch)
    (tmp_path / "nets.py").write_text(HEAD + STACK + LINEAR)
    family = {"kind": f"{tmp_path / 'nets.py'}:build", "parameterization": "ntk"}
    study = Study.create(tmp_path / "s", fields(family=family), data=clouds())
    study.run(1, progress=False)
    assert "build is declared 'ntk', whose σ_init² is the same" in capsys.readouterr().err
    assert len(study.results()) == 8
