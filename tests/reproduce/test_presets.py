"""Presets: every one is a sound specification, with a cost that can be worked out by hand."""

import tomllib

import pytest

from widthwise import reproduce
from widthwise.errors import InputError
from widthwise.reproduce import CLAIMS, all_presets, preset, trials
from widthwise.reproduce.cost import Cost, study_cost
from widthwise.reproduce.paper import provenance
from widthwise.reproduce.presets import dump, fields_of
from widthwise.reproduce.sizes import DATA, NETWORKS, REGIONS, SIZES
from widthwise.study.schedule import lay_out
from widthwise.study.spec import StudySpec

EVERY = [(name, size) for name in all_presets() for size in SIZES]


def laid_out(name, size):
    spec = StudySpec.parse(fields_of(name, size=size))
    source = DATA["fashion-mnist"]
    family = spec.family.family(source.shape, 10)
    num_train = spec.data.num_train or source.num_train
    settings, unreachable = lay_out(spec, family, num_train, {})
    return spec, family, settings, unreachable


class TestTables:
    def test_what_the_issue_asks_for(self):
        names = {str(name) for name in all_presets()}
        assert names == {
            *(f"mlp-{d}-{p}{c}" for d in (1, 2, 3) for p in ("standard", "ntk")
              for c in ("", "-collapse")),
            *(f"{n}-{p}" for n in ("cnn", "wide-resnet") for p in ("standard", "ntk")),
            "cnn-standard-batch-norm",
            "wide-resnet-standard-batch-norm",
        }  # fmt: skip
        assert set(SIZES) == {"minutes", "hours", "paper"}
        assert all(set(network.extents) == set(SIZES) for network in NETWORKS.values())
        assert {kind for kind, _, _ in REGIONS} == {n.kind for n in NETWORKS.values()}

    @pytest.mark.parametrize(("name", "size"), EVERY, ids=str)
    def test_every_preset_parses_and_lays_out(self, name, size):
        spec, _, settings, _ = laid_out(name, size)
        extent = NETWORKS[name.network].extents[size]
        region = REGIONS[name.region_key]
        assert spec.family.depth == extent.depth
        widths = {setting.widening_factor for setting in settings}
        collapse = name.purpose == "collapse"
        assert widths == set(extent.collapse_widths if collapse else extent.widening_factors)
        if collapse:
            return
        for width in widths:
            own = [s for s in settings if s.widening_factor == width]
            # Half octaves over at least two octaves, whatever the width can reach.
            assert len(own) >= 4
            assert all(s.learning_rate <= region.learning_rate * (1 + 1e-9) for s in own)
            assert all(s.batch_size % (region.ghost_batch_size or 1) == 0 for s in own)
            assert all(s.steps >= 50 for s in own)
        assert {spec.training.physical_time} == {region.physical_time * extent.longer}

    @pytest.mark.parametrize("name", [n for n in all_presets() if n.purpose == "collapse"], ids=str)
    def test_collapse_presets_hold_equal_noise_scales_exactly(self, name):
        spec, _, settings, _ = laid_out(name, "minutes")
        levels = REGIONS[name.region_key].collapse
        ratios = {s.learning_rate / (s.batch_size * (1 - s.momentum)) for s in settings}
        assert sorted({round(ratio, 9) for ratio in ratios}) == list(levels.rate_over_batch)
        each = [(s.widening_factor, s.learning_rate, s.momentum, s.batch_size) for s in settings]
        rates = sum(len(rates) for rates in levels.effective_rates.values())
        assert len(set(each)) == len(spec.grid[0].widening_factor) * rates * len(
            levels.rate_over_batch
        )

    @pytest.mark.slow
    @pytest.mark.parametrize("network", ["mlp-1", "cnn"])
    def test_larger_sizes_are_larger(self, network):
        runs = [study_cost(StudySpec.parse(preset(network, size=size))) for size in SIZES]
        assert runs[0].runs < runs[1].runs < runs[2].runs
        assert runs[0].flops < runs[1].flops < runs[2].flops


class TestPreset:
    def test_fields(self):
        fields = preset("cnn", size="minutes", normalization="batch")
        assert fields["family"]["normalization"] == "batch"
        assert fields["training"]["ghost_batch_size"] == 4
        assert StudySpec.parse(fields).search.max_runs == 48

    @pytest.mark.parametrize(
        ("data", "size", "name"),
        [
            (None, "minutes", "fashion-mnist-mini"),
            (None, "hours", "fashion-mnist"),
            ("mnist", "minutes", "mnist"),
            ("cifar10", "paper", "cifar10"),
            ("mnist1d", "minutes", "mnist1d"),
        ],
    )
    def test_data(self, data, size, name):
        fields = preset("mlp-1", size=size, data=data)
        assert StudySpec.parse(fields).data.name == name

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"name": "mlp-4"}, "unknown network 'mlp-4', did you mean 'mlp-"),
            ({"name": "cnn", "size": "minute"}, "unknown size 'minute', did you mean 'minutes'"),
            ({"name": "cnn", "data": "mnist1d"}, "needs images, and mnist1d holds signals"),
            ({"name": "cnn", "data": "svhn"}, "unknown data 'svhn'"),
            ({"name": "mlp-1", "parameterization": "mup"}, "unknown parameterization 'mup'"),
            ({"name": "mlp-1", "normalization": "batch"}, "batch norm goes with cnn and"),
            ({"name": "cnn", "purpose": "collapse"}, "no collapse preset for cnn"),
            ({"name": "cnn", "purpose": "colapse"}, "did you mean 'collapse'"),
        ],
    )
    def test_refused(self, options, message):
        with pytest.raises(InputError, match=message):
            preset(**{"size": "minutes", **options})

    @pytest.mark.parametrize(("name", "size"), EVERY, ids=str)
    def test_toml_reads_back(self, name, size):
        fields = fields_of(name, size=size)
        whose = provenance(name, fields)
        text = whose.comment() + dump(fields)
        assert StudySpec.parse(tomllib.loads(text)) == StudySpec.parse(fields)
        assert all(f"#   - {part}" in text for part in (*whose.fixed, *whose.not_found))
        assert not any(part in whose.not_found for part in whose.fixed)


class TestCost:
    def test_by_hand(self):
        # 784-16w-10 at w = 1: forward 2·(784·16 + 16·10) = 25408 operations an example; backward
        # twice that but for the gradient of the input: 2·25408 − 2·784·16 = 25728.
        # Grid of one setting, 3 seeds: 10 steps of 4 examples, 8 evaluations of 100 + 50.
        spec = StudySpec.parse(
            {
                "family": {"base_width": 16},
                "data": {"num_train": 100, "num_test": 50},
                "grid": {"widening_factor": 1, "learning_rate": 0.1, "batch_size": 4, "seeds": 3},
                "training": {"steps": 10, "evaluations": 8},
            }
        )
        training = 10 * 4 * (25408 + 25728)
        evaluating = 8 * 150 * 25408
        cost = study_cost(spec)
        assert cost == Cost(runs=3, steps=30.0, flops=3.0 * (training + evaluating))
        assert cost.hours(1e-9 * cost.flops) == pytest.approx(1 / 3600)

    def test_of_a_search_is_its_limit_spread_evenly(self):
        fields = preset("mlp-1", size="minutes", parameterization="ntk")
        grid = {**fields, "grid": {**fields["grid"], "seeds": 1}}
        del grid["search"]
        whole, searched = study_cost(StudySpec.parse(grid)), study_cost(StudySpec.parse(fields))
        assert searched.runs == 600
        assert searched.flops == pytest.approx(whole.flops * 600 / whole.runs)

    @pytest.mark.slow
    def test_minutes_is_small(self):
        """All claims at "minutes", the searches' runs spread evenly: half an hour at 100 GFLOP/s,
        about what two cores do; searches stay at higher noise, which costs less."""
        wanted = {trial.preset for trial in trials([], "minutes") if trial.claim.needs_study}
        total = sum((study_cost(StudySpec.parse(fields_of(n, size="minutes"))) for n in wanted),
                    Cost())  # fmt: skip
        assert total.hours(100.0) * 60 < 30
        assert total.steps < 2e7


class TestTrials:
    def test_all(self):
        names = [trial.name for trial in trials([], "minutes")]
        assert len(names) == len(set(names))
        assert {name.split(":")[0] for name in names} == set(CLAIMS)
        assert "law:mlp-2-ntk" not in names
        assert "law:mlp-2-ntk" in [trial.name for trial in trials([], "hours")]

    def test_some(self):
        asked = ["resistance:cnn-ntk", "collapse", "law:mlp-3-ntk"]
        assert [trial.name for trial in trials(asked, "minutes")] == [
            "law:mlp-3-ntk",
            "collapse:mlp-1-standard-collapse",
            "collapse:mlp-1-ntk-collapse",
            "resistance:cnn-ntk",
        ]

    @pytest.mark.parametrize(
        ("asked", "near"), [("colapse", "collapse"), ("law:mlp-1-nkt", "law:mlp-1-ntk")]
    )
    def test_did_you_mean(self, asked, near):
        with pytest.raises(InputError, match=f"did you mean '{near}'"):
            trials([asked], "minutes")


@pytest.mark.parametrize("size", ["minutes", "hours"])
def test_a_small_data_set_gives_no_more_than_it_has(size):
    data = preset("mlp-1", size=size, data="mnist1d")["data"]
    assert data["num_train"] <= 4000
    assert data.get("num_test", 0) <= 1000


def test_the_old_name_of_a_result_warns():
    with pytest.warns(DeprecationWarning, match="widthwise.reproduce.TrialResult"):
        assert reproduce.Finding is reproduce.TrialResult
