"""One setting has one ḡ, wherever it is printed: results, report, plan, calibration, command line.

ε = 0.25, B = 8, m = 0.5, so that ε/(B(1−m)) = 1/16. Family-level σ_init² is the gain (2 before a
rectifier; 1 for a network of one's own, whose gain is not known) over w in the standard
parameterization and PyTorch's own, and the gain in NTK.
"""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from adviser_samples import law
from quick_studies import proved_once, undrawn, untimed  # noqa: F401 - fixtures
from tiny_studies import in_this_process

import widthwise as ww
from widthwise import cli
from widthwise.adviser import Network, Setting
from widthwise.runs.tables import base_init_variance, setting_rows
from widthwise.study.calibration import calibration_fields
from widthwise.text import number

TUNED = {"learning_rate": 0.25, "batch_size": 8, "momentum": 0.5}
NOISE = 1.0 / 16.0
NETWORKS = """
from torch import nn

from widthwise import families


def default(w):
    width = 32 * w
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 3))


def ntk(w):
    return families.mlp((1, 8, 8), 3, base_width=32, parameterization="ntk").build(w)


def standard(w):
    return families.mlp((1, 8, 8), 3, base_width=32).build(w)
"""
# kind, parameterization, σ_init² at w = 1 and 2
CASES = [
    ("mlp", "standard", (2.0, 1.0)),
    ("mlp", "ntk", (2.0, 2.0)),
    ("cnn", "standard", (2.0, 1.0)),
    ("cnn", "ntk", (2.0, 2.0)),
    ("wide_resnet", "standard", (2.0, 1.0)),
    ("wide_resnet", "ntk", (2.0, 2.0)),
    ("nets.py:standard", "standard", (1.0, 0.5)),
    ("nets.py:ntk", "ntk", (1.0, 1.0)),
    ("nets.py:default", "default", (1.0, 0.5)),
]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(48, 1, 8, 8)).astype(np.float32)
    labels = np.arange(48) % 3
    return ww.Dataset.from_arrays(inputs[:32], labels[:32], inputs[32:], labels[32:], name="noise")


@pytest.fixture
def nets(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(NETWORKS)
    return path


def family_of(kind, parameterization, nets):
    sizes = {"mlp": {"base_width": 4}, "cnn": {"base_width": 2, "depth": 1}}
    sizes["wide_resnet"] = {"depth": 10, "base_width": 1}
    own = kind.replace("nets.py", str(nets))
    return {"kind": own, "parameterization": parameterization, **sizes.get(kind, {})}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "parameterization", "variances"), CASES)
def test_one_setting_has_one_noise_scale(
    kind, parameterization, variances, nets, images, tmp_path, monkeypatch, capsys
):
    in_this_process(monkeypatch)
    family = family_of(kind, parameterization, nets)
    spec = {
        "family": family,
        "grid": {"widening_factor": [1, 2], "seeds": 2, **TUNED},
        "training": {"steps": 8, "evaluations": 8},
        "packing": {"size": 2},
    }
    study = ww.Study.create(tmp_path / "study", spec, data=images)
    study.run(1, progress=False)
    expected = [NOISE / variance for variance in variances]

    # The results.
    results = study.results()
    by_width = dict(results.select("widening_factor", "normalized_noise_scale").unique().rows())
    assert [by_width[w] for w in (1.0, 2.0)] == pytest.approx(expected, rel=1e-12)

    # The report.
    rows = setting_rows(results)
    assert [row.normalized_noise_scale for row in rows] == pytest.approx(expected, rel=1e-12)
    page = study.report().read_text(encoding="utf-8")
    for value in expected:
        assert f">{number(value, 4)}<" in page

    # A plan, which takes σ_init² from the family or from the study's results.
    built = study.spec.family.family(images.input_shape, images.num_classes)
    of_study = Network(init_variance=base_init_variance(results))
    of_law = replace(law(), init_variance=base_init_variance(results))
    for network, measured in ((built, None), (of_study, None), (None, of_law)):
        plan = ww.widen(
            **TUNED,
            widening_factor=2,
            parameterization=parameterization,
            network=network,
            law=measured,
        )
        assert plan.base_normalized_noise_scale == pytest.approx(expected[0], rel=1e-12)
        kept = plan.normalized_noise_scale / plan.noise_ratio
        assert kept == pytest.approx(expected[1], rel=1e-12)

    # A calibration, whose grid begins at a quarter of the tuned ḡ.
    monkeypatch.setattr("widthwise.study.calibration.load", lambda data: images)
    fields = {"family": family, "training": {"steps": 8}}
    made = calibration_fields(fields, Setting(**TUNED), widths=(1, 2))
    first = made["grid"][0]
    assert first["widening_factor"] == 1.0
    assert 4.0 * first["normalized_noise_scale"][0] == pytest.approx(expected[0], rel=1e-12)

    # The command line, for a network of one's own.
    if ":" in kind:
        words = ["widthwise", "widen", "--base", family["kind"], "--factor", "2", "--json"]
        for name, value in TUNED.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        monkeypatch.setattr(sys, "argv", words)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        content = json.loads(capsys.readouterr().out)
        assert content["parameterization"] == parameterization
        assert content["base_normalized_noise_scale"] == pytest.approx(expected[0], rel=1e-12)


def test_the_check_notices_another_gain(nets, images):
    """A family that counted its gain twice would not agree."""
    family = ww.families.mlp(images.input_shape, images.num_classes)
    plan = ww.widen(**TUNED, widening_factor=2, network=family)
    wrong = Network(init_variance=2.0 * family.init_variance(1.0))
    other = ww.widen(**TUNED, widening_factor=2, parameterization="standard", network=wrong)
    assert other.base_normalized_noise_scale != pytest.approx(plan.base_normalized_noise_scale)
