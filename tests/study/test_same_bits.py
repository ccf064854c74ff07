"""A study of dense networks gives the same bits however it is computed: in any company, any cut
into calls, after checkpoints, with any number of workers and with every instruction set."""

import os

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tiny_studies import clouds, comparable, fields, in_this_process

from widthwise.engines.compiled import library
from widthwise.engines.compiled.build import LIBRARY
from widthwise.engines.modules import NotPackableError
from widthwise.runs.store import Store
from widthwise.study import Study
from widthwise.study.pack_call import PackCall
from widthwise.training import PackTrainer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LIBRARY.exists(), reason="compiled library is not built"),
]
FAMILIES = {
    "standard": {"base_width": 5, "depth": 1},
    "ntk, two layers": {"base_width": 20, "depth": 2, "parameterization": "ntk"},
}
GRID = {"batch_size": [1, 7], "learning_rate": [0.05], "momentum": [0.0, 0.9], "seeds": 3}


class StoppedError(Exception):
    """A stand-in for a crash."""


def study_in(directory, family, size=16):
    asked = fields(
        family=family,
        grid=GRID,
        training={"steps": 320, "evaluations": 8},
        packing={"size": size, "engine": "compiled"},
    )
    return Study.create(directory, asked, data=clouds(num_validation=8))


def bits(study):
    """Every number that was measured."""
    results = study.results(curves=True)
    assert set(results["engine"]) == {"compiled"}
    return comparable(results)


def finished(directory, family, *, size=16):
    """Trained in this process."""
    study = study_in(directory, family, size)
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        study.run(1, progress=False)
    return bits(study)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def expected(family, tmp_path_factory):
    found = finished(tmp_path_factory.mktemp("expected") / "study", family)
    assert found.height == 2 * 2 * 2 * 3
    assert found["curve_train_loss"].n_unique() == found.height
    return found


@pytest.mark.parametrize("size", [1, 2, 5])
def test_in_any_company(size, family, expected, tmp_path):
    found = finished(tmp_path / "study", family, size=size)
    assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.cluster), 2])
def test_by_any_number_of_workers(workers, family, expected, tmp_path):
    study = study_in(tmp_path / "study", family, size=5)
    study.run(workers, progress=False)
    assert_frame_equal(bits(study), expected, check_exact=True)


@pytest.mark.parametrize("most", [1, 35])
def test_for_any_cut_into_calls(most, family, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("widthwise.training.trainer._MAX_STEPS_IN_A_CALL", most)
    study = study_in(tmp_path / "study", family)
    for pack in study.schedule.packs:
        study_call(study, pack)
    assert_frame_equal(bits(study), expected, check_exact=True)


def test_after_a_crash_at_every_evaluation(family, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("widthwise.study.pack_call._SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    study = study_in(tmp_path / "study", family)
    advance, left = PackTrainer.advance, [0]

    def crash_after_one(self, on_progress=None):
        if left[0] == 0:
            raise StoppedError
        left[0] -= 1
        advance(self, on_progress)

    monkeypatch.setattr(PackTrainer, "advance", crash_after_one)
    crashes = 0
    for pack in study.schedule.packs:
        landed = False
        while not landed:
            left[0] = 2
            try:
                study_call(study, pack)
                landed = True
            except StoppedError:
                crashes += 1
    assert crashes >= 3 * len(study.schedule.packs)
    assert_frame_equal(bits(study), expected, check_exact=True)


def test_with_every_instruction_set(family, expected, tmp_path, monkeypatch):
    for name in ("avx2", "avx512"):
        monkeypatch.setenv(library.VARIABLE, name)
        try:
            library.instruction_set()
        except NotPackableError:
            continue  # not of this processor
        found = finished(tmp_path / name, family)
        assert_frame_equal(found, expected, check_exact=True)
    assert os.environ[library.VARIABLE] == "avx512"


def test_calls_that_end_within_a_block_are_seen(family, expected, tmp_path, monkeypatch):
    """What cuts into calls would do to the bits if they were made anywhere."""
    monkeypatch.setattr("widthwise.engines.compiled_pack.CompiledPack.steps_of_block", 1)
    monkeypatch.setattr("widthwise.training.trainer._MAX_STEPS_IN_A_CALL", 35)
    study = study_in(tmp_path / "study", family)
    for pack in study.schedule.packs:
        study_call(study, pack)
    with pytest.raises(AssertionError):
        assert_frame_equal(bits(study), expected, check_exact=True)


def test_a_difference_of_one_bit_is_seen(family, expected, tmp_path):
    study = study_in(tmp_path / "study", family)
    pack = study.schedule.packs[0]
    study_call(study, pack)
    found = bits(study)
    same = expected.join(found, on="run_id", how="semi")
    assert_frame_equal(found, same, check_exact=True)
    nudged = found.with_columns(
        pl.col("final_train_loss").map_batches(lambda x: x * (1 + 2**-52), return_dtype=pl.Float64)
    )
    with pytest.raises(AssertionError):
        assert_frame_equal(nudged, same, check_exact=True)


def study_call(study, pack):
    """Trains and lands a pack in this process."""
    store = Store(study.directory / "store")
    store.prepare()
    PackCall(study.directory, store.place, pack)(lambda event: None)
