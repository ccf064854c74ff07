"""Studies that search: rounds, their packs, resuming, and what the specification refuses."""

import json

import numpy as np
import polars as pl
import pytest
from tiny_studies import clouds, comparable, empty, fields, flip_a_bit, in_this_process

from widthwise.errors import FitError, InputError
from widthwise.study import Study, StudySpec
from widthwise.study.rounds import Rounds
from widthwise.study.running import Runner

GRID = {
    "widening_factor": [1, 2],
    "normalized_noise_scale": {"from": 0.0025, "to": 0.08, "num": 11},
    "max_stable_learning_rate": 0.4,
}


def spec(**changes):
    search = {"precision": 1.0, "max_seeds": 16, "runs_at_once": 8}
    return {
        **fields(grid=[GRID], training={"physical_time": 2.0, "evaluations": 8}),
        "search": search,
        **changes,
    }


@pytest.fixture
def trained(monkeypatch):
    """Real runs in this process, with accuracies that peak at ḡ = 0.01·w."""
    found = Study.results

    def planted(self, **options):
        table = found(self, **options)
        scale, width, seed = (
            table[column].to_numpy()
            for column in ("normalized_noise_scale", "widening_factor", "seed")
        )
        noise = [
            np.random.default_rng([int(s), round(1e6 * x), int(w)]).normal(0.0, 0.003)
            for s, x, w in zip(seed, scale, width, strict=True)
        ]
        curve = 0.8 - 0.02 * np.log2(scale / (0.01 * width)) ** 2
        return table.with_columns(pl.Series("test_accuracy", curve + np.array(noise)))

    monkeypatch.setattr(Study, "results", planted)
    return in_this_process(monkeypatch)


def kept_rounds(study):
    return {path.name: path.read_text() for path in study.directory.glob("rounds/*/*.json")}


def search(directory, **changes):
    study = Study.create(directory, spec(**changes), data=clouds())
    study.run(1, progress=False)
    return study


class TestSearch:
    @pytest.mark.slow
    def test_finds_the_planted_optima_and_stops(self, tmp_path, trained):
        study = search(tmp_path / "s")
        assert study.search_end() == "precise enough"
        for width, optimum in study.optima().items():
            low, high = optimum.interval
            assert low <= 0.01 * width <= high
            assert np.log2(high / low) <= 1.0
        status = study.status()
        assert status.runs_landed == status.runs_planned == len(study.results())
        # It left most of the grid alone: 11 settings × 2 widths × 16 seeds.
        assert status.runs_landed < 11 * 2 * 16 / 3

    @pytest.mark.slow
    @pytest.mark.parametrize("first", [0, 1000])
    def test_no_run_is_trained_twice_and_seeds_count_from_the_first(self, tmp_path, trained, first):
        study = search(tmp_path / "s", search={**spec()["search"], "first_seed": first})
        assert len(trained) == len(set(trained)) == study.schedule.num_runs
        settings = study.results().group_by("widening_factor", "batch_size", "learning_rate")
        for runs in settings.agg(pl.col("seed").sort())["seed"].to_list():
            assert list(runs) == list(range(first, first + len(runs)))
        assert study.search_end() == "precise enough"

    @pytest.mark.slow
    def test_other_seeds_are_another_search_with_runs_of_its_own(self, tmp_path, trained):
        study = search(tmp_path / "s")
        before, rounds = set(trained), set(study.directory.glob("rounds/*/*.json"))
        other = search(tmp_path / "s", search={**spec()["search"], "first_seed": 8})
        assert not before & set(trained[len(before) :])
        assert other.results()["seed"].min() == 8
        assert rounds < set(study.directory.glob("rounds/*/*.json"))
        apart = search(tmp_path / "apart", search={**spec()["search"], "first_seed": 8})
        assert comparable(other.results()).equals(comparable(apart.results()))

    @pytest.mark.slow
    def test_again_there_is_nothing_to_do(self, tmp_path, trained):
        study = search(tmp_path / "s")
        before = len(trained)
        Study.open(study.directory).run(1, progress=False)
        assert len(trained) == before

    @pytest.mark.slow
    def test_a_budget_is_kept(self, tmp_path, trained):
        study = search(
            tmp_path / "s", search={"precision": 0.01, "max_runs": 30, "runs_at_once": 8}
        )
        assert len(study.results()) <= 30
        assert study.search_end() == "budget spent"

    def test_a_budget_for_no_run_is_said_to_be_that(self, tmp_path, trained):
        study = search(tmp_path / "s", search={"max_runs": 1})
        assert not trained
        with pytest.raises(FitError, match=r"before its first run \(budget spent\); raise"):
            study.report()

    @pytest.mark.slow
    def test_the_report_is_written(self, tmp_path, trained):
        assert search(tmp_path / "s").report().exists()


class TestInterruption:
    @pytest.mark.slow
    @pytest.mark.parametrize("stop_before", [1, 2, 3])
    def test_the_same_rounds_follow(self, tmp_path, trained, monkeypatch, stop_before):
        whole = search(tmp_path / "whole")
        begin = Runner._begin_round
        asked = []

        def killed(self, rounds):
            asked.append(None)
            if len(asked) > stop_before:
                raise KeyboardInterrupt
            return begin(self, rounds)

        monkeypatch.setattr(Runner, "_begin_round", killed)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "cut")
        monkeypatch.setattr(Runner, "_begin_round", begin)
        cut = Study.open(tmp_path / "cut")
        cut.run(1, progress=False)
        assert kept_rounds(cut) == kept_rounds(whole)
        assert comparable(cut.results()).equals(comparable(whole.results()))

    @pytest.mark.slow
    def test_lost_and_damaged_rounds_are_made_again(self, tmp_path, trained):
        study = search(tmp_path / "s")
        before, kept = len(trained), kept_rounds(study)
        first, *_, last = sorted(study.directory.glob("rounds/*/*.json"))
        for damage in (lambda: first.unlink(), lambda: flip_a_bit(first), lambda: empty(last)):
            damage()
            Study.open(study.directory).run(1, progress=False)
            assert kept_rounds(study) == kept
            assert len(trained) == before

    @pytest.mark.slow
    def test_whoever_is_faster_asks(self, tmp_path, trained):
        study = search(tmp_path / "s")
        rounds = study._scheduler.kept
        whole = rounds.read()
        one = Rounds(rounds=whole.rounds[:1])
        other = Rounds(rounds=(*one.rounds, whole.rounds[0]))
        assert rounds.add(one, other) == whole


class TestAnotherQuestion:
    @pytest.mark.slow
    def test_other_rounds_and_the_same_runs(self, tmp_path, trained):
        study = search(tmp_path / "s", search={"max_runs": 20, "runs_at_once": 8})
        before = len(trained)
        assert study.search_end() == "budget spent"
        more = Study.create(study.directory, spec(search={"max_runs": 30, "runs_at_once": 8}))
        more.run(1, progress=False)
        assert len(trained) == len(set(trained)) <= 30
        assert len(more.results()) <= 30
        assert len(list((study.directory / "rounds").iterdir())) == 2
        assert before <= 20
        # And back: nothing is left to do.
        before = len(trained)
        Study.create(study.directory, spec(search={"max_runs": 20, "runs_at_once": 8})).run(
            1, progress=False
        )
        assert len(trained) == before


class TestSpecification:
    def test_by_name_or_by_table(self):
        named = StudySpec.parse({**spec(), "search": "adaptive"})
        assert named.search.precision == 1.0
        assert StudySpec.parse(named) == named
        assert StudySpec.parse({**spec(), "search": "grid"}).search is None

    def test_a_grid_has_the_hash_it_had_before_there_was_a_search(self):
        plain = StudySpec.parse(fields())
        assert "search" not in json.loads(json.dumps(plain.fields()))
        assert StudySpec.parse({**fields(), "search": "grid"}).hash == plain.hash

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"search": "random"}, "search must be one of grid, adaptive, or a table"),
            ({"search": {"precision": None}}, "needs precision, exponent_precision or both"),
            ({"search": {"precison": 1}}, "did you mean 'precision'"),
            ({"grid": [{**GRID, "seeds": 3}]}, "chooses the seeds itself"),
            ({"grid": [{**GRID, "momentum": [0.0, 0.9]}]}, "one momentum"),
            ({"grid": [GRID, GRID]}, "every widening factor in one grid"),
            (
                {"grid": {"widening_factor": 1, "learning_rate": 0.1, "batch_size": [1, 2, 4]}},
                "written in normalized_noise_scale",
            ),
        ],
    )
    def test_refusals(self, changes, message):
        with pytest.raises(InputError, match=message):
            StudySpec.parse({**spec(), **changes})
