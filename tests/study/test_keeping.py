"""Trained weights that a study keeps: whose, where they go, and that they are those of its runs."""

import itertools

import numpy as np
import polars as pl
import pytest
import torch
from alone import trained_alone
from tiny_studies import clouds, comparable, fields, finished_study, flip_a_bit, in_this_process
from torch import nn

from widthwise.engines import pack
from widthwise.engines.compiled.build import LIBRARY
from widthwise.errors import FitError, InputError
from widthwise.sgd.batches import batch_indices
from widthwise.study import Study, StudySpec
from widthwise.study.keep_spec import KeptRuns
from widthwise.study.keeping import best_settings

BATCH_NORM = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.norm = nn.Linear(6, width), nn.BatchNorm1d(width)
        self.last = nn.Linear(width, 3)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x.flatten(1)))))

def build(widening_factor):
    return Net(4 * int(widening_factor))
"""
needs_library = pytest.mark.skipif(not LIBRARY.exists(), reason="compiled library is not built")
DECAY, NESTEROV = {"weight_decay": 0.01}, {"nesterov": True, "label_smoothing": 0.1}
ENGINES = [pytest.param("compiled", marks=needs_library), "chain", "graph", "vmap"]


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Keys of the runs that were trained."""
    return in_this_process(monkeypatch)


def spec_for(engine, tmp_path, **others):
    """Dense networks; with batch norm where the engine is one for them."""
    family = {"base_width": 4}
    if engine in ("graph", "vmap"):
        (tmp_path / "nets.py").write_text(BATCH_NORM, encoding="utf-8")
        family = {"kind": f"{tmp_path / 'nets.py'}:build"}
    return fields(family=family, packing={"size": 16, "engine": engine}, **others)


def kept_files(study):
    return sorted((study.directory / "store" / "weights").glob("*"))


def kept_for_now(study):
    return sorted((study.directory / "store" / "weights-so-far").glob("*"))


@torch.no_grad()
def scored(module, data):
    """Loss and accuracy on the test examples."""
    logits = module(torch.from_numpy(data.test_inputs))
    labels = torch.from_numpy(data.test_labels)
    return (
        float(nn.functional.cross_entropy(logits, labels)),
        float((logits.argmax(1) == labels).double().mean()),
    )


class TestModule:
    @pytest.mark.slow
    @pytest.mark.parametrize("engine", ENGINES)
    def test_scores_what_the_results_say(self, engine, tmp_path):
        grid = {"momentum": [0.0, 0.9]}
        study = finished_study(tmp_path / "s", spec_for(engine, tmp_path, keep="all", grid=grid))
        results = study.results()
        assert set(results["engine"]) == {engine}
        assert len(kept_files(study)) == len(results) == 16
        curves = study.curves().filter(pl.col("step") == 24)
        for row in results.iter_rows(named=True):
            module = study.module(row)
            assert not module.training
            loss, accuracy = scored(module, clouds())
            (curve,) = curves.filter(pl.col("run_id") == row["run_id"]).iter_rows(named=True)
            assert accuracy == curve["test_accuracy"]
            assert loss == pytest.approx(curve["test_loss"], rel=1e-5)

    def test_another_run_scores_something_else(self, tmp_path):
        study = finished_study(tmp_path / "s", fields(keep="all"))
        ids = study.results()["run_id"]
        first, second = (scored(study.module(run), clouds()) for run in ids[:2])
        assert first != second

    def test_a_run_is_named_in_four_ways(self, tmp_path):
        study = finished_study(tmp_path / "s", fields(keep="all"))
        best = study.best()
        ways = [best[:1], best.row(0, named=True), best["run_id"][0]]
        expected = dict(study.module(ways[0]).named_parameters())
        for way in ways[1:]:
            for name, parameter in study.module(way).named_parameters():
                assert torch.equal(parameter, expected[name])
        results = study.results()
        top = max(best_settings(study.results(curves=True)).values(), key=lambda r: r.test_accuracy)
        chosen = results.filter(
            pl.col("widening_factor") == top.widening_factor,
            pl.col("learning_rate") == top.learning_rate,
            pl.col("seed") == 0,
        )["run_id"][0]
        assert scored(study.module(), clouds()) == scored(study.module(chosen), clouds())

    @pytest.mark.parametrize("run", ["0" * 32, {"seed": 1}, "nonsense"])
    def test_what_is_no_run_is_refused(self, run, tmp_path):
        study = finished_study(tmp_path / "s", fields(keep="all"))
        with pytest.raises(InputError, match="run must be"):
            study.module(run)
        with pytest.raises(InputError, match="one row, got 8 rows"):
            study.module(study.results())

    def test_says_that_none_were_kept(self, tmp_path):
        study = finished_study(tmp_path / "s")
        with pytest.raises(InputError, match="the study keeps none"):
            study.module()

    def test_nothing_is_best_where_all_diverged(self, tmp_path):
        grid = {"learning_rate": [1e9]}
        study = finished_study(tmp_path / "s", fields(keep="all", grid=grid))
        with pytest.raises(FitError, match="none is best"):
            study.module()
        with pytest.raises(InputError, match="it diverged"):
            study.module(study.results()["run_id"][0])

    def test_a_changed_network_is_refused(self, tmp_path):
        study = finished_study(tmp_path / "s", spec_for("graph", tmp_path, keep="all"))
        run = study.results()["run_id"][0]
        file = tmp_path / "nets.py"
        file.write_text(BATCH_NORM.replace("relu", "tanh"), encoding="utf-8")
        with pytest.raises(InputError, match="since the study in"):
            Study.open(study.directory).module(run)

    @trained_alone
    def test_damaged_weights_are_named_and_trained_again(self, tmp_path, trained):
        study = finished_study(tmp_path / "s", fields(keep="all"))
        file = kept_files(study)[0]
        key = file.name.partition(".")[0]
        flip_a_bit(file)
        with pytest.raises(InputError, match="damaged"):
            study.module(key)
        assert len(study.verify()) == 1
        trained.clear()
        study.run(1, progress=False)
        assert trained == [key]
        study.module(key)


class TestResume:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("engine", "momentum", "training"),
        [
            pytest.param("compiled", 0.0, {}, marks=needs_library),
            pytest.param("compiled", 0.9, DECAY, marks=needs_library),
            pytest.param("compiled", 0.9, NESTEROV, marks=needs_library),
            ("chain", 0.9, DECAY),
            ("chain", 0.9, NESTEROV),
            ("graph", 0.9, DECAY),
            ("vmap", 0.9, NESTEROV),
        ],
    )
    def test_goes_on_as_if_uninterrupted(self, engine, momentum, training, tmp_path):
        """Ten steps by torch.optim.SGD from weights after 16 = the weights after 26."""

        def study(name, steps):
            asked = spec_for(
                engine,
                tmp_path,
                keep="all",
                grid={"momentum": momentum, "seeds": 1},
                training={"steps": steps, "evaluations": 8, **training},
            )
            return finished_study(tmp_path / name, asked)

        short, long = study("short", 16), study("long", 26)
        for row in short.results().iter_rows(named=True):
            module, optimizer, batches, loss = short.resume(row)
            assert module.training
            for inputs, labels in itertools.islice(batches, 10):
                optimizer.zero_grad()
                loss(module(inputs), labels).backward()
                optimizer.step()
            (other,) = long.results().filter(
                pl.col("widening_factor") == row["widening_factor"],
                pl.col("learning_rate") == row["learning_rate"],
            )["run_id"]
            expected = long.module(other).state_dict()
            for name, tensor in module.state_dict().items():
                torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6)
            start = short.module(row).state_dict()
            assert any(not torch.allclose(start[name], expected[name], rtol=1e-2) for name in start)

    @needs_library
    def test_in_compiled_code_to_the_same_bits(self, tmp_path):
        """Whole blocks of sixteen steps leave the same bits however they are cut."""
        grid = {"widening_factor": 2, "learning_rate": 0.05, "momentum": 0.9, "seeds": 1}

        def study(name, steps):
            asked = spec_for(
                "compiled",
                tmp_path,
                keep="all",
                grid=grid,
                training={"steps": steps, "evaluations": 8},
            )
            return finished_study(tmp_path / name, asked)

        module, optimizer, _, _ = study("short", 128).resume()
        packed = pack([module], [0.05], [0.9], engine="compiled")
        for name, parameter in module.named_parameters():
            state = packed.state()
            state[f"velocities/{name}"] = optimizer.state[parameter]["momentum_buffer"][None]
            packed.restore(state)
        data = clouds()
        rows = batch_indices(0, 128, 128, batch_size=8, num_train=64, sampling="epochs")
        packed.train_steps(
            torch.from_numpy(data.train_inputs),
            torch.from_numpy(data.train_labels),
            torch.from_numpy(rows)[None],
            torch.empty(128, 1),
            first_number=128,
            rate_factors=torch.ones(128, dtype=torch.float64),
        )
        expected = dict(study("long", 256).module().named_parameters())
        for name, tensor in packed.parameters(0).items():
            assert torch.equal(tensor, expected[name]), name

    def test_without_the_momentum_buffers_it_does_not(self, tmp_path):
        grid = {"momentum": 0.9, "seeds": 1}
        study = finished_study(tmp_path / "s", fields(keep="all", grid=grid))
        ends = []
        for forget in (False, True):
            module, optimizer, batches, loss = study.resume()
            if forget:
                optimizer.state.clear()
            inputs, labels = next(batches)
            loss(module(inputs), labels).backward()
            optimizer.step()
            ends.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
        assert not torch.allclose(*ends, rtol=1e-3)

    def test_batches_are_those_that_would_come_next(self, tmp_path):
        study = finished_study(tmp_path / "s", fields(keep="all"))
        batches = study.resume(study.best()[:1]).batches
        inputs, labels = next(batches)
        assert inputs.shape == (8, 1, 2, 3)
        # 64 examples are 8 batches: step 24 begins an epoch, which holds each example once.
        seen = [labels, *(y for _, y in itertools.islice(batches, 7))]
        assert sorted(torch.cat(seen).tolist()) == sorted(clouds().train_labels.tolist())

    def test_the_rate_is_that_of_the_last_step(self, tmp_path):
        training = {"steps": 24, "evaluations": 8, "schedule": "step", "decay_at": [0.5]}
        study = finished_study(tmp_path / "s", fields(keep="all", training=training))
        row = study.best().row(0, named=True)
        (group,) = study.resume(row).optimizer.param_groups
        assert group["lr"] == pytest.approx(0.1 * row["learning_rate"])


class TestWhoseAreKept:
    def test_nobodys_unless_it_is_asked(self, tmp_path):
        study = finished_study(tmp_path / "s")
        assert kept_files(study) == kept_for_now(study) == []

    def test_the_best_setting_of_each_width_with_all_seeds(self, tmp_path, trained):
        study = finished_study(tmp_path / "s", fields(keep="best"))
        assert len(trained) == 8
        kept = {file.name.partition(".")[0] for file in kept_files(study)}
        assert kept == set(study.best()["run_id"])
        means = (
            study.results()
            .group_by("widening_factor", "learning_rate")
            .agg(pl.col("test_accuracy").mean(), pl.col("run_id"))
        )
        for _, width in means.group_by("widening_factor"):
            top = width.filter(pl.col("test_accuracy") == pl.col("test_accuracy").max())
            assert set(top.sort("learning_rate")["run_id"][0]) <= kept
        assert len(kept) == 4
        assert kept_for_now(study) == []

    def test_settings(self, tmp_path):
        keep = [{"widening_factor": 2, "learning_rate": 0.1}, {"seed": [1]}]
        study = finished_study(tmp_path / "s", fields(keep=keep))
        kept = {file.name.partition(".")[0] for file in kept_files(study)}
        expected = study.results().filter(
            ((pl.col("widening_factor") == 2) & (pl.col("learning_rate") == 0.1))
            | (pl.col("seed") == 1)
        )
        assert kept == set(expected["run_id"])
        assert len(kept) == 5

    def test_by_noise_scale(self, tmp_path):
        grid = {
            "widening_factor": [1, 2],
            "normalized_noise_scale": [0.01, 0.03],
            "max_stable_learning_rate": 1.0,
            "seeds": 1,
        }
        asked = {**fields(keep={"normalized_noise_scale": 0.03}), "grid": grid}
        study = finished_study(tmp_path / "s", asked)
        kept = {file.name.partition(".")[0] for file in kept_files(study)}
        scales = study.results().filter(pl.col("run_id").is_in(list(kept)))
        assert np.allclose(scales["normalized_noise_scale"], 0.03)
        assert len(kept) == 2

    def test_settings_without_runs_are_refused(self, tmp_path):
        study = Study.create(tmp_path / "s", fields(keep={"learning_rate": 7.0}), data=clouds())
        with pytest.raises(InputError, match="of which there are runs"):
            study.run(1, progress=False)

    @pytest.mark.slow
    def test_of_a_search(self, tmp_path):
        grid = {
            "widening_factor": [1, 2],
            "normalized_noise_scale": {"from": 0.003, "to": 0.1, "num": 4},
            "max_stable_learning_rate": 1.0,
        }
        search = {"max_runs": 16, "max_seeds": 4, "seeds_at_once": 2, "runs_at_once": 4}
        asked = {**fields(keep="best", search=search), "grid": grid}
        study = finished_study(tmp_path / "s", asked)
        kept = {file.name.partition(".")[0] for file in kept_files(study)}
        assert kept == set(study.best()["run_id"]) != set()
        assert kept_for_now(study) == []

    def test_keeping_does_not_change_what_a_run_is(self, tmp_path):
        plain = finished_study(tmp_path / "plain")
        keeping = finished_study(tmp_path / "keeping", fields(keep="all"))
        assert comparable(plain.results()).equals(comparable(keeping.results()))
        assert plain.spec.hash == keeping.spec.hash
        assert "keep" not in plain.spec.fields()


@pytest.mark.slow
class TestAskedForLater:
    def test_all_are_trained_again_and_only_once(self, tmp_path, trained, capsys):
        study = finished_study(tmp_path / "s")
        before = study.results()
        trained.clear()
        again = Study.create(tmp_path / "s", fields(keep="all"), data=clouds())
        again.run(1)
        assert "8 runs landed without weights: trained again for them" in capsys.readouterr().err
        assert len(trained) == len(kept_files(again)) == 8
        assert again.results().equals(before)
        trained.clear()
        again.run(1, progress=False)
        assert trained == []

    def test_the_best_alone_are_trained_again(self, tmp_path, trained):
        study = finished_study(tmp_path / "s")
        trained.clear()
        again = Study.create(tmp_path / "s", fields(keep="best"), data=clouds())
        again.run(1, progress=False)
        assert set(trained) == set(study.best()["run_id"])
        assert len(trained) == 4

    @needs_library
    def test_compiled_ones_are_the_same_to_the_bit(self, tmp_path, recwarn):
        asked = spec_for("compiled", tmp_path)
        finished_study(tmp_path / "s", asked)
        again = Study.create(tmp_path / "s", {**asked, "keep": "best"}, data=clouds())
        again.run(1, progress=False)
        again.module()
        assert not recwarn.list

    def test_another_training_is_said_to_be_one(self, tmp_path):
        """The file of a run under the digest of other measurements."""
        study = finished_study(tmp_path / "s", fields(keep="all"))
        run, other = study.results()["run_id"][:2]
        weights, _ = study._store.weights.find(
            other, next(f.name.split(".")[1] for f in kept_files(study) if f.name.startswith(other))
        )
        (file,) = (f for f in kept_files(study) if f.name.startswith(run))
        file.unlink()
        study._store.weights.keep(weights, run, "0" * 16)
        with pytest.warns(UserWarning, match="training it again"):
            study.module(run)

    def test_diverged_runs_are_not_trained_again_and_again(self, tmp_path, trained):
        asked = fields(keep="all", grid={"learning_rate": [0.05, 1e9]})
        study = finished_study(tmp_path / "s", asked)
        assert len(kept_files(study)) == 4
        trained.clear()
        study.run(1, progress=False)
        assert trained == []

    def test_from_best_to_none_garbage_is_collected(self, tmp_path):
        study = finished_study(tmp_path / "s", fields(keep="all"))
        (file, *_) = kept_files(study)
        file.rename(study.directory / "store" / "weights-so-far" / file.name)
        assert study.collect_garbage()[0] == 1
        assert kept_for_now(study) == []


class TestSizes:
    def test_are_announced(self, tmp_path, capsys):
        Study.create(tmp_path / "s", fields(keep="all"), data=clouds()).run(1)
        # (6·4 + 4 + 4·3 + 3) and (6·8 + 8 + 8·3 + 3) floats, four runs each.
        assert "keeps the weights of 8 runs, 0.00202 MB" in capsys.readouterr().err

    def test_of_momentum_count(self, tmp_path, capsys):
        asked = fields(keep="best", grid={"momentum": 0.9})
        Study.create(tmp_path / "s", asked, data=clouds()).run(1)
        said = capsys.readouterr().err
        assert "until that is known those of all 8 runs, 0.00403 MB" in said

    @pytest.mark.parametrize("keep", ["best", "all"])
    def test_beyond_the_limit_are_refused_before_anything_is_made(self, keep, tmp_path):
        asked = fields(keep=keep, limits={"kept_mb": 0.002})
        with pytest.raises(InputError, match=r"limits\.kept_mb = 0\.002 MB"):
            Study.create(tmp_path / "s", asked, data=clouds())
        assert not (tmp_path / "s").exists()
        Study.create(tmp_path / "s", {**asked, "limits": {"kept_mb": 0.0021}}, data=clouds())

    def test_settings_are_counted_as_such(self, tmp_path):
        asked = fields(keep={"widening_factor": 1}, limits={"kept_mb": 0.0007})
        Study.create(tmp_path / "s", asked, data=clouds())
        less = {**asked, "limits": {"kept_mb": 0.0006}}
        with pytest.raises(InputError, match="name fewer"):
            Study.create(tmp_path / "t", less, data=clouds())

    def test_of_a_search_at_most_its_runs_count(self, tmp_path):
        grid = {
            "widening_factor": [1],
            "normalized_noise_scale": [0.01, 0.1],
            "max_stable_learning_rate": 1.0,
        }
        asked = {**fields(keep="all", limits={"kept_mb": 0.005}), "grid": grid}
        with pytest.raises(InputError, match="kept_mb"):
            Study.create(tmp_path / "s", {**asked, "search": "adaptive"}, data=clouds())
        few = {**asked, "search": {"max_runs": 20}}
        Study.create(tmp_path / "s", few, data=clouds())


class TestSpecification:
    @pytest.mark.parametrize("keep", ["none", "best", "all"])
    def test_words(self, keep):
        spec = StudySpec.parse(fields(keep=keep))
        assert spec.keep.which == keep
        assert StudySpec.parse(spec.fields()).keep == spec.keep

    def test_tables_are_read_back(self):
        keep = [{"widening_factor": 2, "seed": [0, 1]}, {"batch_size": 8}]
        spec = StudySpec.parse(fields(keep=keep))
        assert spec.keep.settings == (
            KeptRuns(widening_factor=2, seed=(0, 1)),
            KeptRuns(batch_size=8),
        )
        assert StudySpec.parse(spec.fields()).keep == spec.keep
        assert spec.hash == StudySpec.parse(fields()).hash

    def test_overrides(self):
        assert StudySpec.parse(fields(), ["keep=best"]).keep.which == "best"
        spec = StudySpec.parse(fields(), ["keep={widening_factor = 2}"])
        assert spec.keep.settings == (KeptRuns(widening_factor=2),)

    @pytest.mark.parametrize(
        ("keep", "said"),
        [
            ("some", 'must be "none", "best", "all"'),
            ({"width": 2}, "unknown key"),
            ({"batch_size": 0}, "greater than or equal to 1"),
            ({"seed": []}, "at least 1 item"),
            ([{}], 'write "all"'),
            (True, "must be"),
            (3, "must be|valid"),
        ],
    )
    def test_what_is_none_is_refused(self, keep, said):
        with pytest.raises(InputError, match=said):
            StudySpec.parse(fields(keep=keep))
