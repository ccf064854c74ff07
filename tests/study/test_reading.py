"""Files as people have them, and values that are none: read, or refused in one line."""

import json

import pytest
from tiny_studies import fields

from widthwise.errors import InputError
from widthwise.study import StudySpec

TOML = (
    '[family]\nkind = "mlp"\n[grid]\nwidening_factor = 1\nlearning_rate = 0.1\nbatch_size = 8\n'
    "[training]\nsteps = 8\n"
)
MARK = b"\xef\xbb\xbf"


def refused(tmp_path, content, name="spec.toml"):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        StudySpec.parse(tmp_path / name)
    assert "\n" not in str(raised.value).strip()
    assert len(str(raised.value)) < 600
    return str(raised.value)


@pytest.mark.parametrize("ending", [".toml", ".json", ""])
def test_a_byte_order_mark_is_read(ending, tmp_path):
    path = tmp_path / f"spec{ending}"
    text = json.dumps(fields()) if ending == ".json" else TOML
    path.write_bytes(MARK + text.encode())
    marked = StudySpec.parse(path)
    path.write_bytes(text.encode())
    assert marked == StudySpec.parse(path)


def test_other_encodings_are_named(tmp_path):
    assert "is not UTF-8 text" in refused(tmp_path, TOML.encode("utf-16"))
    assert "is not UTF-8 text" in refused(tmp_path, 'title = "ä"\n'.encode("latin-1"))


@pytest.mark.parametrize("name", ["spec.toml", "spec.json"])
def test_deep_nesting(name, tmp_path):
    begin = b'{"a": ' if name == "spec.json" else b"a = "
    assert "nested too deep" in refused(tmp_path, begin + b"[" * 100_000, name)


@pytest.mark.parametrize("key", ["learning_rate", "batch_size", "seeds"])
def test_text_in_a_grid_is_no_list(key):
    said = "must be a number or a list of numbers, got '8'"
    with pytest.raises(InputError, match=rf"grid\.0\.{key}: {said}"):
        StudySpec.parse(fields(grid={key: "8"}))


@pytest.mark.parametrize(
    ("seeds", "shown"), [(-1, "-1"), (0, "0"), (1e3, r"1000\.0"), (2.5, r"2\.5")]
)
def test_numbers_that_count_no_seeds(seeds, shown):
    said = rf"grid\.0\.seeds: must be a whole number of seeds, or a list of them, got {shown}$"
    with pytest.raises(InputError, match=said):
        StudySpec.parse(fields(grid={"seeds": seeds}))


def test_files_without_end_are_not_read_to_the_end():
    with pytest.raises(InputError, match="must be at most 100 MB"):
        StudySpec.parse("/dev/zero")


@pytest.mark.parametrize("value", ["1" * 320, "1" * 5000, "1e308", "-" + "1" * 320, "inf", "nan"])
@pytest.mark.parametrize(
    "key", ["grid.learning_rate", "grid.batch_size", "training.steps", "data.num_train"]
)
def test_numbers_that_are_too_large(key, value):
    try:
        spec = StudySpec.parse(fields(), [f"{key}={value}"])
    except InputError as error:
        assert len(str(error)) < 400  # noqa: PT017
    else:
        assert spec.hash  # large, and a number


@pytest.mark.parametrize(
    "key",
    [
        *("grid.seeds", "grid.learning_rate", "grid.batch_size", "grid.widening_factor"),
        *("grid.momentum", "training.weight_decay", "training.decay_factor", "data.num_train"),
        *("data.seed", "packing.size", "packing.memory_mb", "analysis.seed", "family.depth"),
        *("search.max_runs", "limits.runs"),
    ],
)
@pytest.mark.parametrize("value", ["true", "false"])
def test_truth_values_are_no_numbers(key, value):
    with pytest.raises(InputError, match=rf"{key} must be a number, got {value}"):
        StudySpec.parse(fields(), [f"{key}={value}"])


@pytest.mark.parametrize(
    "override",
    [
        "grid.learning_rate=[0.1, true]",
        "grid.seeds=[true]",
        "grid.learning_rate={from=true, to=2, num=3}",
        "training.decay_at=[true]",
    ],
)
def test_nor_inside_lists_and_ranges(override):
    key = override.partition("=")[0]
    with pytest.raises(InputError, match=f"{key} must be a number, got true"):
        StudySpec.parse(fields(), [override])


def test_in_several_grids():
    grids = [fields()["grid"], {**fields()["grid"], "seeds": True}]
    with pytest.raises(InputError, match=r"grid\.seeds must be a number, got true"):
        StudySpec.parse(fields(grid=grids))


def test_where_true_belongs_it_stays():
    spec = StudySpec.parse(fields(grid={"momentum": 0.9}), ["training.nesterov=true"])
    assert spec.training.nesterov is True
    assert StudySpec.parse(fields(), ["family.bias=false"]).family.bias is False


@pytest.mark.parametrize("key", ["title", "family.kind", "data.path"])
def test_text_that_is_none(key):
    table, _, name = key.rpartition(".")
    value = "x\ud800.py:f" if name == "kind" else "x\ud800"
    given = {**fields(), **({table: {name: value}} if table else {name: value})}
    with pytest.raises(InputError, match=rf"{key} .*(must be Unicode text|surrogates not allowed)"):
        StudySpec.parse(given)


def test_a_null_character_in_a_path():
    with pytest.raises(InputError, match="must name a file"):
        StudySpec.parse(fields(family={"kind": "a\0b.py:f"}))
    with pytest.raises(InputError, match="cannot be read"):
        StudySpec.parse("a\0b.toml")
