"""docs/studies.md lists every key of a specification, with its default."""

import re

import pytest
from pages import ROOT
from quick_studies import undrawn, untimed  # noqa: F401 - fixtures
from tiny_studies import fields, finished_study, in_this_process

from widthwise.data import DataSpec
from widthwise.data.arrays import MAX_VALUES
from widthwise.data.items import READ_AGAIN
from widthwise.data.readers import files, images
from widthwise.study.family_spec import FamilySpec
from widthwise.study.grid_spec import GridSpec
from widthwise.study.keep_spec import KeptRuns
from widthwise.study.limits import LimitsSpec
from widthwise.study.spec import (
    AnalysisSpec,
    HardwareSpec,
    PackingSpec,
    SearchSpec,
    StudySpec,
    TrainingSpec,
)
from widthwise.study.stable_rates import ProbeOptions

PAGE = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
TABLES = {
    "family": FamilySpec,
    "data": DataSpec,
    "grid": GridSpec,
    "search": SearchSpec,
    "training": TrainingSpec,
}
OTHERS = {
    "packing": PackingSpec,
    "hardware": HardwareSpec,
    "analysis": AnalysisSpec,
    "limits": LimitsSpec,
}


def rows(heading: str) -> dict[str, str]:
    """Key → default as written, of the table after the bold word."""
    (table,) = re.findall(rf"^\*\*`\[?{heading}\]?`.*?\n\n(\|.*?)\n\n", PAGE, flags=re.M | re.S)
    found = {}
    for line in table.splitlines()[2:]:
        keys, default = [cell.strip() for cell in line.strip("|").split("|")[:2]]
        for key in re.findall(r"`([\w.]+)`", keys):
            found[key] = default if keys.count("`") == 2 else ""
    return found


def kept_keys() -> str:
    """What may stand in a table of keep, in backticks."""
    (row,) = re.findall(r"^\| `\{(widening_factor = .*)$", PAGE, flags=re.M)
    return "`" + row.replace(", seed =", "`, `seed`")


def test_the_limits_of_own_data_are_those_in_force():
    said = PAGE.partition("## Your own data")[2].partition("\n## ")[0]
    assert f"at most {images.MAX_VALUES:,} values each" in said
    assert f"at most {MAX_VALUES:,} values." in said
    assert f"and {READ_AGAIN} of them three times" in said
    assert f"more than {files.MAX_SIZE >> 30} GiB" in said
    assert f"more than {files.MAX_RATIO} times its packed size" in said


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_listed_and_no_other(table):
    assert set(rows(table)) == set(TABLES[table].model_fields)


def test_keys_of_the_small_tables():
    expected = {f"{t}.{key}" for t, model in OTHERS.items() for key in model.model_fields}
    assert set(rows(r"packing\]`, `\[hardware\]`, `\[analysis\]`, `\[limits")) == expected


def test_every_table_of_a_specification_is_there():
    assert set(StudySpec.model_fields) == {*TABLES, *OTHERS, "title", "store", "keep"}
    assert set(re.findall(r"`(\w+)", kept_keys())) == set(KeptRuns.model_fields)
    assert "`title` is " in PAGE
    assert "`store` is " in PAGE


@pytest.mark.parametrize("table", TABLES)
def test_defaults_are_those_of_the_code(table):
    for key, written in rows(table).items():
        default = TABLES[table].model_fields[key].default
        if re.fullmatch(r'`".*"`', written) and default is not None:
            assert written.strip('`"') == default, key
        elif re.fullmatch(r"[\d.]+", written) and isinstance(default, int | float):
            assert float(written) == float(default), key


@pytest.mark.slow
def test_every_file_of_a_study_is_listed(tmp_path, monkeypatch):
    in_this_process(monkeypatch)
    (listed,) = re.findall(
        r"^## What is in a study's directory\n\n(\|.*?)\n\n", PAGE, flags=re.M | re.S
    )
    names = set(re.findall(r"`([\w.…-]+)/?`(?=[^|]*\|[^|]*\|$)", listed, flags=re.M))
    grid = {"widening_factor": [1, 2], "normalized_noise_scale": [0.01, 0.02, 0.04]}
    options = {"max_runs": 8, "runs_at_once": 8}
    spec = fields(grid=[grid], search=options, packing={"max_replicas": 2, "engine": "graph"})
    study = finished_study(tmp_path / "s", spec)
    study.report()
    study.probe(ProbeOptions(seeds=2, steps=20, tolerance=0.5, curvature=False), progress=False)
    found = {re.sub(r"-[0-9a-f]{16}", "-…", path.name) for path in study.directory.iterdir()}
    assert found == names
