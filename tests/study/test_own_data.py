"""A study of data that the user brings: what it keeps, says and refuses."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_studies import fields, in_this_process
from torch.utils.data import TensorDataset

from widthwise.data import Dataset
from widthwise.errors import InputError
from widthwise.study import Study
from widthwise.study.provenance import provenance
from widthwise.study.record import read_record

LABELS = torch.arange(40) % 2


def pictures(seed=0):
    """Unsigned bytes, (40, 1, 2, 3)."""
    values = torch.randint(256, (40, 1, 2, 3), generator=torch.Generator().manual_seed(seed))
    return TensorDataset(values.to(torch.uint8), LABELS)


@pytest.mark.slow
def test_is_prepared_as_the_specification_says(tmp_path):
    spec = fields(data={"num_train": 24, "num_test": 10, "seed": 5})
    study = Study.create(tmp_path / "s", spec, data=(pictures(), pictures(1)))
    expected = Dataset.of((pictures(), pictures(1)), num_train=24, num_test=10, seed=5)
    assert study.identity("data") == expected.fingerprint
    assert Study.create(tmp_path / "s", fields()).identity("data") == expected.fingerprint
    said = provenance(read_record(tmp_path / "s"), study.results(), None, [])
    assert said["data"] == (
        "TensorDataset (24 training, 10 test examples of shape (1, 2, 3), given in memory)"
    )
    assert said["inputs"].startswith("unsigned bytes divided by 255; training mean of each coord")


@pytest.mark.slow
@pytest.mark.parametrize("preprocessing", ["center-scale", "none"])
def test_the_report_says_one_thing_of_how_inputs_were_prepared(
    tmp_path, monkeypatch, preprocessing
):
    in_this_process(monkeypatch)
    spec = fields(data={"preprocessing": preprocessing})
    study = Study.create(tmp_path / "s", spec, data=pictures())
    study.run(1, progress=False)
    shown = []
    monkeypatch.setattr(
        "widthwise.report.write_report", lambda content, place: shown.append(content)
    )
    study.report()
    said = json.loads(shown[0].spec_text)["data"]
    assert said["inputs"] == shown[0].provenance["inputs"]
    assert ("mean" in said["inputs"]) == (preprocessing == "center-scale")
    assert said["given in memory"] == "TensorDataset"
    assert "preprocessing" not in said


@pytest.mark.slow
def test_a_study_that_names_none_says_on_which_it_trains(tmp_path, monkeypatch, capsys):
    in_this_process(monkeypatch)
    one = {"widening_factor": 1, "learning_rate": 0.1, "seeds": 1}
    for given, said in (({}, True), ({"data": {"num_train": 100}}, False)):
        study = Study.create(tmp_path / str(said), fields(grid=one, **given))
        capsys.readouterr()
        study.run(1)
        line = "no data are named: fashion-mnist-mini, 5000 training examples\n"
        assert (line in capsys.readouterr().err) == said


@pytest.mark.slow
def test_of_other_content_is_another_question(tmp_path):
    Study.create(tmp_path / "s", fields(), data=pictures())
    study = Study.create(tmp_path / "s", fields(), data=pictures(2), yes=True)
    assert study.identity("data") == Dataset.of(pictures(2)).fingerprint
    # What a worker elsewhere finds in the folder is checked against the question.
    (kept,) = (tmp_path / "s" / "data").glob(f"{study.identity('data')[:16]}.npz")
    Dataset.of(pictures()).save(kept)
    with pytest.raises(InputError, match="must be those that the study"):
        Study.open(tmp_path / "s").run(1, progress=False)


@pytest.mark.slow
def test_a_folder_of_images_that_changed_is_refused(tmp_path):
    for row, (image, label) in enumerate(pictures()):
        path = tmp_path / "pictures" / f"class {label}" / f"{row:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    (tmp_path / "study.toml").write_text(
        "[family]\nbase_width = 4\n[data]\nname = 'image-folder'\npath = 'pictures'\n"
        "[grid]\nwidening_factor = [1, 2]\nlearning_rate = 0.1\nbatch_size = 8\nseeds = 2\n"
        "[training]\nsteps = 24\nevaluations = 8\n[packing]\nsize = 4\n"
    )
    Study.create(tmp_path / "s", tmp_path / "study.toml")
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "pictures" / "class 0" / "00.png")
    with pytest.raises(InputError, match="must be those that the study"):
        Study.open(tmp_path / "s").run(1, progress=False)
