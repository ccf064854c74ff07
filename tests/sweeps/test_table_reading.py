"""Tables from wherever they come, and which column is what."""

import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from widthwise.errors import InputError
from widthwise.sweeps.reading import read_table
from widthwise.sweeps.runs import read_runs

CSV = "width,lr,seed,acc\n8,0.1,0,0.5\n8,0.1,1,0.6\n8,0.2,0,nan\n16,0.1,0,\n16,0.2,0,inf\n"
ROLES = {"width": "width", "x": "lr", "score": "acc", "seed": "seed", "where": {}, "log_base": None}


def runs_of(source, **changes):
    return read_runs(read_table(source), **{**ROLES, **changes})


@pytest.fixture
def csv_file(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(CSV)
    return path


def test_a_long_table(csv_file):
    runs = runs_of(csv_file)
    assert runs.width.tolist() == [8, 8, 8, 16]
    assert runs.value.tolist() == [0.1, 0.1, 0.2, 0.2]
    assert runs.score[:2].tolist() == [0.5, 0.6]
    # nan and inf diverged; nothing was not made, and that is said.
    assert np.isnan(runs.score[2:]).all()
    assert runs.seed.tolist() == [0, 1, 0, 0]
    (note,) = runs.notes
    assert note.startswith("row 4 with no score counts as not run")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_a_byte_order_mark(tmp_path, separator):
    path = tmp_path / "runs.txt"
    path.write_text(CSV.replace(",", separator), encoding="utf-8-sig")
    assert runs_of(path).width.tolist() == [8, 8, 8, 16]


def frame():
    return pl.DataFrame(
        {"width": [8, 8, 16], "lr": [0.1, 0.2, 0.1], "seed": [0, 0, 0], "acc": [0.5, math.nan, 0.7]}
    )


def test_frames_files_mappings_and_rows_are_alike(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "runs.parquet"
    frame().write_parquet(path)
    columns = frame().to_dict(as_series=False)
    sources = [
        frame(),
        frame().lazy(),
        path,
        columns,
        frame().to_dicts(),
        pandas.DataFrame(columns),
    ]
    for source in sources:
        runs = runs_of(source)
        assert runs.width.tolist() == [8, 8, 16]
        assert runs.score[[0, 2]].tolist() == [0.5, 0.7]
        assert np.isnan(runs.score[1])


def trial(state, value, **params):
    return SimpleNamespace(
        state=SimpleNamespace(name=state), value=value, params=params, user_attrs={"width": 8}
    )


def study(*directions):
    """As much of an Optuna study as is read; that of the package has the same names."""
    trials = [
        trial("COMPLETE", 0.5, lr=0.1),
        trial("PRUNED", 0.1, lr=0.2),
        trial("FAIL", None, lr=0.4),
        trial("RUNNING", None, lr=0.8),
    ]
    return SimpleNamespace(
        trials=trials, directions=[SimpleNamespace(name=name) for name in directions]
    )


def test_an_optuna_study():
    table = read_table(study("MINIMIZE"))
    runs = read_runs(table, **{**ROLES, "score": "value", "seed": None})
    assert runs.value.tolist() == [0.1, 0.4]
    assert runs.score[0] == 0.5
    assert np.isnan(runs.score[1])
    assert table.minimized == "value"
    assert runs.notes == ("2 trials that were pruned or had not ended are left out",)
    with pytest.raises(InputError, match="one objective, got 2"):
        read_table(study("MINIMIZE", "MAXIMIZE"))


@pytest.mark.parametrize("prefix", ["params.", "params_", "config.", "config/"])
def test_exports_name_columns_with_a_prefix(prefix):
    columns = {f"{prefix}width": ["8", "16"], f"{prefix}lr": ["0.1", "0.2"], "metrics.acc": [1, 2]}
    runs = runs_of(columns, seed=None)
    assert runs.width.tolist() == [8, 16]
    assert runs.names == {"width": "width", "x": "lr", "score": "acc"}


def test_scores_of_seeds_side_by_side():
    columns = {"width": [8, 16], "lr": [0.1, 0.1], "acc_0": [0.1, 0.2], "acc_1": [0.3, None]}
    for score in ("acc_*", ["acc_0", "acc_1"]):
        runs = runs_of(columns, score=score, seed=None)
        assert runs.width.tolist() == [8, 8, 16]
        assert runs.score.tolist() == [0.1, 0.3, 0.2]
        assert runs.seed.tolist() == [0, 1, 0]
        assert runs.names["score"] == "acc"


def test_widths_side_by_side():
    columns = {"lr": [0.1, 0.2], "width_8": [0.5, 0.6], "width_16": [0.7, 0.8]}
    runs = runs_of(columns, width="width_*", score=None, seed=None)
    assert runs.width.tolist() == [8, 16, 8, 16]
    assert runs.value.tolist() == [0.1, 0.1, 0.2, 0.2]
    assert runs.score.tolist() == [0.5, 0.7, 0.6, 0.8]


def test_values_side_by_side():
    columns = {"width": [8, 16], "1e-3": [0.5, 0.6], "1e-2": [0.7, 0.8]}
    runs = runs_of(columns, x=["1e-3", "1e-2"], score=None, seed=None)
    assert runs.value.tolist() == [0.001, 0.01, 0.001, 0.01]
    assert runs.score.tolist() == [0.5, 0.7, 0.6, 0.8]


def test_logarithms_are_undone_and_named_so():
    columns = {"width": [8, 16], "log2_lr": [-3, 1], "acc": [0.5, 0.6]}
    runs = runs_of(columns, x="log2_lr", seed=None, log_base=2)
    assert runs.value.tolist() == [0.125, 2.0]
    assert runs.names["x"] == "lr"


def test_rows_are_chosen():
    columns = {"width": [8, 8], "lr": [0.1, 0.1], "B": ["64", "128"], "acc": [0.5, 0.6]}
    assert runs_of(columns, seed=None, where={"B": 128.0}).score.tolist() == [0.6]


def test_without_seeds_equal_rows_are_repetitions():
    columns = {"width": [8, 8, 8], "lr": [0.1, 0.2, 0.1], "acc": [1, 2, 3]}
    assert runs_of(columns, seed=None).seed.tolist() == [0, 0, 1]


GOOD = {"width": [8, 8, 16], "lr": [0.1, 0.2, 0.1], "seed": [0, 0, 0], "acc": [0.5, 0.6, 0.7]}

UNFIT = [
    ({"acc": None}, {}, r"score must be a column of the table, got 'acc'; it has .* perhaps"),
    ({"lr": [0.1, -0.2, 0]}, {}, "column lr must hold positive numbers, got -0.2 in rows 2 and 3"),
    ({"lr": [0.1, -0.2, 0.1]}, {}, "row 2; if the column holds logarithms, give their base"),
    ({"lr": [0.1, 0.0, 0.1]}, {}, "row 2; 0 has no place on a logarithmic axis"),
    ({"lr": [0.1, "big", 0.1]}, {}, "column lr must hold numbers, for it is x, got 'big' in row 2"),
    ({"lr": [0.1, None, 0.1]}, {}, "got nothing in row 2"),
    ({"width": [8, 0, 0]}, {}, "column width must hold positive numbers, got 0 in rows 2 and 3"),
    (
        {"acc": [0.5, "good", 0.7]},
        {},
        "column acc must hold scores, got 'good' in row 2; write nan",
    ),
    ({"acc": [None] * 3}, {}, "must hold scores, got nothing in any row"),
    ({"lr": [0.1, 0.1, 0.1]}, {}, r"one width, lr and seed must be one, got rows 1 and 2.*where"),
    ({}, {"where": {"seed": 7}}, "none with seed = 7; the column holds 0"),
    ({}, {"score": None}, "score must name the column of scores"),
    ({}, {"width": ["lr", "acc"]}, "several columns may stand for one of width, x and score"),
    ({}, {"width": ["lr", "acc"], "score": None}, "one number in its name, got 'lr'"),
    ({}, {"log_base": 0.5}, "log_base must be above 1, got 0.5"),
    ({"lr": [1, 2, 5000]}, {"log_base": 10}, "column lr must hold logarithms to base 10"),
    ({"params.lr": [1] * 3, "config.lr": [1] * 3, "lr": None}, {}, "x must be one column, got lr"),
]


@pytest.mark.parametrize(("changes", "roles", "said"), UNFIT, ids=[row[2][:30] for row in UNFIT])
def test_an_unfit_table_is_told_by_column_and_row(changes, roles, said):
    columns = {name: cells for name, cells in {**GOOD, **changes}.items() if cells is not None}
    if "acc" not in columns:
        columns["acd"] = GOOD["acc"]
    runs_of(GOOD)  # what is unfit is the change
    with pytest.raises(InputError, match=said):
        runs_of(columns, **roles)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty file"),
        ("a,b\n", "at least one row"),
        ("a,b\n1,2\n3\n", "got 1 in row 2"),
        ("a,a\n1,2\n", r"\['a'\] more than once"),
        (b"a,b\n\xff\xfe,1\n", "CSV file in UTF-8"),
    ],
)
def test_unfit_files(tmp_path, text, said):
    path = tmp_path / "runs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=said):
        read_table(path)


def test_what_is_no_table(tmp_path):
    for source, said in [
        (3, "got int"),
        (tmp_path / "absent.csv", "a file that exists"),
        ({"a": [1], "b": [1, 2]}, "of one length"),
        ([], "at least one row"),
    ]:
        with pytest.raises(InputError, match=said):
            read_table(source)
    path = tmp_path / "no.parquet"
    path.write_text("no")
    with pytest.raises(InputError, match="Parquet"):
        read_table(path)
