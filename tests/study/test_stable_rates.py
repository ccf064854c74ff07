"""Largest stable learning rates: measured once a width, kept, resumed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_rates import rates
from tiny_studies import clouds, fields, finished_study, flip_a_bit, in_this_process

from widthwise import families
from widthwise.data import load
from widthwise.errors import InputError
from widthwise.probes import fit_stability_law
from widthwise.reproduce.presets import preset
from widthwise.study import Study
from widthwise.study.cost import module_cost
from widthwise.study.spec import StudySpec
from widthwise.study.stable_rates import (
    ProbeOptions,
    measured_rates,
    probe_width,
    stable_learning_rate,
)
from widthwise.training import PackJob, Replica, train_pack

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_bound_stays_a_bound(tmp_path):
    bound = {rate.widening_factor: rate for rate in rates(0.0, censored=True)}
    for _ in range(2):
        found = measured_rates(
            spec(), tmp_path / "r.json", measure=lambda spec, dataset, width: bound[width]
        )
    assert all(rate.censored and math.isinf(rate.interval[1]) for rate in found.rates)


@pytest.mark.slow
def test_longer_training_needs_no_new_probe_but_other_data_do(tmp_path):
    path = tmp_path / "r.json"
    measured_rates(spec(), path, measure=Probe())
    measured_rates(spec(training={"physical_time": 5.0}), path, measure=Probe(killed_at=1.0))
    with pytest.raises(InputError, match="belongs to another specification"):
        measured_rates(spec(data={"num_train": 512}), path, measure=Probe())


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"of": {}, "widths": [{"rate": {}}]}'])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(InputError, match="is damaged; remove it"):
        measured_rates(spec(), path, measure=Probe())


@pytest.mark.slow
def test_the_probe_itself(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "widthwise.study.stable_rates.max_stable_learning_rate",
        lambda family, dataset, **options: asked.update(options),
    )
    small = spec(data={"num_train": 40}, training={"physical_time": 1.0})
    probe_width(small, load(small.data), 2.0)
    assert (asked["widening_factor"], asked["batch_size"], asked["seeds"]) == (2.0, 40, 10)
    assert asked["max_replicas"] == 16


@pytest.mark.slow
def test_weights_that_do_not_fit_the_caches_share_smaller_packs(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "widthwise.study.stable_rates.max_stable_learning_rate",
        lambda family, dataset, **options: asked.update(options),
    )
    small = spec(data={"num_train": 40}, training={"physical_time": 1.0})
    probe_width(small, load(small.data), 64.0)
    assert asked["max_replicas"] == 4


@pytest.mark.slow
def test_rates_of_a_file_are_measured_alike(tmp_path):
    path = tmp_path / "r.json"
    measured_rates(spec(), path, measure=Probe())
    for changes in ({"seeds": 11}, {"steps": 201}, {"momentum": 0.5}, {"batch_size": 8}):
        (name,) = changes
        with pytest.raises(InputError, match=f"must be measured alike: it holds {name} = "):
            measured_rates(spec(), path, options=ProbeOptions(**changes), measure=Probe())
    assert measured_rates(spec(), path, options=ProbeOptions(batch_size=64)).num_runs == 80


QUICK = ProbeOptions(seeds=2, steps=20, tolerance=0.5, curvature=False)
SECTION = "How large can the best batch be?"


class TestStudies:
    @pytest.fixture(autouse=True)
    def trained(self, monkeypatch):
        in_this_process(monkeypatch)

    @pytest.mark.slow
    def test_the_report_shows_the_rates_once_they_are_measured(self, tmp_path):
        study = finished_study(tmp_path / "s")
        assert SECTION not in study.report().read_text()
        found = study.probe(QUICK, progress=False)
        assert [rate.widening_factor for rate in found.rates] == [1.0, 2.0]
        assert {rate.batch_size for rate in found.rates} == {64}
        page = Study.open(study.directory).report().read_text()
        assert SECTION in page
        assert "2 seeds" in page

    @pytest.mark.slow
    def test_what_was_measured_is_kept(self, tmp_path, monkeypatch):
        study = finished_study(tmp_path / "s")
        first = study.probe(QUICK, widths=[2], progress=False)
        told = []
        found = study.probe(QUICK, progress=False, on_rate=told.append)
        assert found.rates == tuple(told)
        assert found.rates[1].to_dict() == first.rates[0].to_dict()
        monkeypatch.delattr("widthwise.study.stable_rates.probe_width")
        assert len(study.probe(QUICK, progress=False).rates) == 2

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "other", [{"data": clouds(seed=1)}, {"spec": fields(family={"base_width": 5})}]
    )
    def test_the_file_of_another_study_is_refused(self, tmp_path, other):
        study, stranger = finished_study(tmp_path / "a"), finished_study(tmp_path / "b", **other)
        stranger.probe(QUICK, progress=False)
        kept = (stranger.directory / "stable-rates.json").read_bytes()
        (study.directory / "stable-rates.json").write_bytes(kept)
        for asking in (study.report, lambda: study.probe(QUICK, progress=False)):
            with pytest.raises(InputError, match="belongs to another specification"):
                asking()


def cost_of(network, data, width):
    examples, labels = (torch.from_numpy(a[:8]) for a in (data.train_inputs, data.train_labels))
    return module_cost(network.build(width), examples, labels)


def _family(parameterization):
    return families.mlp((1, 2, 3), 3, base_width=4, parameterization=parameterization)


def all_stable(network, data, rate):
    job = PackJob(
        widening_factor=2.0,
        batch_size=min(64, data.num_train),
        steps=200,
        replicas=tuple(Replica(learning_rate=rate, momentum=0.9, seed=s) for s in range(3)),
        evaluations=8,
    )
    return all(result.status == "ok" for result in train_pack(network, data, job))


@pytest.mark.slow
@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_it_is_stable_and_half_an_octave_more_is_not(parameterization):
    network, data = _family(parameterization), clouds()
    found = stable_learning_rate(network, data, 2.0, 0.9, cost=cost_of(network, data, 2.0))
    assert all_stable(network, data, found)
    assert not all_stable(network, data, found * math.sqrt(2.0))


@pytest.mark.slow
def test_the_size_of_the_packs_follows_from_the_network_and_does_not_matter():
    network, data = _family("ntk"), clouds()
    cost = cost_of(network, data, 1.0)
    large = replace(cost, num_parameters=10**9)  # one replica at a time
    found = {stable_learning_rate(network, data, 1.0, 0.0, cost=c) for c in (cost, large)}
    assert len(found) == 1


class TestOfAStudy:
    """What a grid in noise scales needs is measured once, and lands in the store."""

    GRID = [  # noqa: RUF012 - a table
        {"widening_factor": [1, 2], "normalized_noise_scale": [0.01, 0.02], "seeds": 1}
    ]

    @pytest.fixture
    def asked(self, monkeypatch):
        asked = []

        def measured(family, dataset, width, momentum, *, cost, recipe):
            asked.append(width)
            return 0.8 / width

        monkeypatch.setattr("widthwise.study.scheduling.stable_learning_rate", measured)
        in_this_process(monkeypatch)
        return asked

    def kept(self, study):
        return sorted((study.directory / "store" / "measured").glob("*.json"))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "changes",
        [
            {"packing": {"size": 1}},
            {"hardware": {"device": "cpu"}},
            {"training": {"steps": 48, "evaluations": 9}},
            {"training": {"steps": 24, "evaluations": 8, "schedule": "cosine"}},
            {"title": "Another"},
        ],
        ids=str,
    )
    def test_serves_every_question_about_the_same_networks(self, tmp_path, asked, changes):
        study = finished_study(tmp_path / "s", fields(grid=self.GRID))
        assert asked == [1.0, 2.0]
        assert len(self.kept(study)) == 2
        Study.create(study.directory, fields(grid=self.GRID, **changes), yes=True).run(
            1, progress=False
        )
        assert asked == [1.0, 2.0]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "changes",
        [
            {"training": {"steps": 24, "evaluations": 8, "loss": "mean-squared-error"}},
            {"family": {"base_width": 5}},
        ],
        ids=str,
    )
    def test_is_measured_anew_for_others(self, tmp_path, asked, changes):
        finished_study(tmp_path / "s", fields(grid=self.GRID))
        study = Study.create(tmp_path / "s", fields(grid=self.GRID, **changes), yes=True)
        study.run(1, progress=False)
        assert asked == [1.0, 2.0] * 2

    @pytest.mark.slow
    def test_a_damaged_one_is_set_aside_and_measured_again(self, tmp_path, asked):
        study = finished_study(tmp_path / "s", fields(grid=self.GRID))
        before = study.results()
        flip_a_bit(self.kept(study)[0])
        Study.open(study.directory).run(1, progress=False)
        assert len(asked) == 3
        assert len(self.kept(study)) == 2
        assert study.results().equals(before)
