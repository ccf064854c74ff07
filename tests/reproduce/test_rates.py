"""Largest stable learning rates: measured once a width, kept, resumed."""

import math

import numpy as np
import pytest
from planted import rates

from widthwise.data import load
from widthwise.errors import InputError
from widthwise.probes import fit_stability_law
from widthwise.reproduce.presets import preset
from widthwise.reproduce.rates import measured_rates, probe
from widthwise.study.spec import StudySpec

PLANTED = {rate.widening_factor: rate for rate in rates(0.5)}


def spec(**changes):
    return StudySpec.parse({**preset("mlp-1", size="minutes"), **changes})


class Probe:
    """Answers with what is planted; may be killed before a width."""

    def __init__(self, killed_at=None):
        self.widths, self.killed_at = [], killed_at

    def __call__(self, spec, dataset, width):
        if width == self.killed_at:
            raise KeyboardInterrupt
        self.widths.append(width)
        return PLANTED[width]


def test_a_killed_probe_goes_on(tmp_path):
    path = tmp_path / "rates" / "mlp.json"
    first, second = Probe(killed_at=4.0), Probe()
    with pytest.raises(KeyboardInterrupt):
        measured_rates(spec(), path, measure=first)
    found = measured_rates(spec(), path, measure=second)
    assert (first.widths, second.widths) == ([1.0, 2.0], [4.0, 8.0])
    again = measured_rates(spec(), path, measure=Probe(killed_at=1.0))
    assert again.seconds == pytest.approx(found.seconds, abs=0.01)
    assert found.num_runs == 4 * 2 * 10
    for rate in again.rates:
        planted = PLANTED[rate.widening_factor]
        assert rate.to_dict() == planted.to_dict()
        np.testing.assert_allclose(rate.samples, planted.samples, atol=1e-6)
    widths = list(PLANTED)
    kept, direct = (fit_stability_law(widths, x) for x in (again.rates, list(PLANTED.values())))
    assert kept.interval == pytest.approx(direct.interval, abs=1e-5)


def test_a_bound_stays_a_bound(tmp_path):
    bound = {rate.widening_factor: rate for rate in rates(0.0, censored=True)}
    for _ in range(2):
        found = measured_rates(
            spec(), tmp_path / "r.json", measure=lambda spec, dataset, width: bound[width]
        )
    assert all(rate.censored and math.isinf(rate.interval[1]) for rate in found.rates)


def test_longer_training_needs_no_new_probe_but_other_data_do(tmp_path):
    path = tmp_path / "r.json"
    measured_rates(spec(), path, measure=Probe())
    measured_rates(spec(training={"physical_time": 5.0}), path, measure=Probe(killed_at=1.0))
    with pytest.raises(InputError, match="belongs to another specification"):
        measured_rates(spec(data={"num_train": 512}), path, measure=Probe())


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "r.json"
    path.write_text("{")
    with pytest.raises(InputError, match="is damaged; remove it"):
        measured_rates(spec(), path, measure=Probe())


def test_the_probe_itself(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "widthwise.reproduce.rates.max_stable_learning_rate",
        lambda family, dataset, **options: asked.update(options),
    )
    small = spec(data={"num_train": 40}, training={"physical_time": 1.0})
    probe(small, load(small.data), 2.0)
    assert (asked["widening_factor"], asked["batch_size"], asked["seeds"]) == (2.0, 40, 10)
    assert asked["max_replicas"] == 16
