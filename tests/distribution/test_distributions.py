"""Source distribution and wheel, built and installed in environments with nothing else in them."""

import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

import widthwise

pytest.importorskip("hatchling", reason="hatchling is not installed")
pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
STUDY = """\
[family]
base_width = 4
[data]
num_train = 64
num_test = 20
[grid]
widening_factor = [1, 2]
learning_rate = 0.1
batch_size = 8
seeds = 2
[training]
steps = 16
evaluations = 8
[packing]
size = 4
"""
SECONDS = 1200


def called(*arguments, cwd, **environment):
    """Standard output of a program that must succeed, away from this checkout."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "WIDTHWISE", "CC"))}
    done = subprocess.run(
        [str(a) for a in arguments],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@dataclass(frozen=True)
class Built:
    """A source distribution, the wheel made of it, and the one made without a C compiler."""

    place: Path
    sdist: Path
    wheel: Path
    without_compiler: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    place = tmp_path_factory.mktemp("distributions")
    called(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", place, cwd=ROOT)
    (sdist,) = place.glob("*.tar.gz")
    wheels = {}
    for folder, environment in (("compiled", {}), ("pure", {"CC": "false"})):
        # Not from the cache: pip would take the wheel of the other compiler for this one.
        called(
            sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-cache-dir",
            "--wheel-dir", place / folder, sdist, cwd=place, **environment,
        )  # fmt: skip
        (wheels[folder],) = (place / folder).glob("*.whl")
    return Built(place, sdist, wheels["compiled"], wheels["pure"])


@pytest.fixture(scope="module")
def environment(built):
    """The folder of programs where the wheel, and what it asks for, are installed alone."""
    place = built.place / "environment"
    called(sys.executable, "-m", "venv", place, cwd=built.place)
    install(place / "bin", built.wheel, "--constraint", ROOT / "constraints.txt")
    return place / "bin"


def install(programs, *arguments):
    called(programs / "python", "-m", "pip", "install", "--quiet", *arguments, cwd=programs)


def trained(programs, folder):
    """Engines of a small study, from its file to its report."""
    folder.mkdir()
    (folder / "study.toml").write_text(STUDY)
    called(programs / "widthwise", "run", "study.toml", "-o", "s", "--workers", "1", cwd=folder)
    called(programs / "widthwise", "report", "s", cwd=folder)
    assert (folder / "s" / "report.html").stat().st_size > 10_000
    results = pl.read_parquet(folder / "s" / "results.parquet")
    assert len(results) == 4
    return set(results["engine"])


def test_the_source_has_all_that_is_needed_and_nothing_that_was_built(built):
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "LICENSE", "NOTICE", "CITATION.cff", "README.md", "CHANGELOG.md", "pyproject.toml",
        "hatch_build.py", "constraints.txt", "Makefile", "PKG-INFO", "examples/mlp_ntk.toml",
        "src/widthwise/engines/compiled/dense.c", "tests/distribution/test_distributions.py",
    }  # fmt: skip
    assert not [
        n for n in names if n.endswith((".so", ".pyc")) or n.startswith((".venv", "studies"))
    ]


def test_the_wheel_has_data_examples_and_licences(built):
    with zipfile.ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
        (record,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        said = archive.read(record).decode()
    licences = record.replace("METADATA", "licenses/")
    assert names >= {
        "widthwise/py.typed",
        "widthwise/data/bundled/train-images-idx3-ubyte.xz",
        "widthwise/examples/mup_demo_standard.csv",
        *(licences + name for name in ("LICENSE", "NOTICE", "examples/NOTICE")),
        licences + "src/widthwise/data/bundled/NOTICE",
    }
    assert all(name.startswith(("widthwise/", "widthwise-")) for name in names)
    assert "Requires-Python: >=3.11" in said
    assert "License-Expression: Apache-2.0" in said


def test_a_wheel_is_of_its_platform_if_it_holds_compiled_code(built):
    def holds_code(wheel):
        with zipfile.ZipFile(wheel) as archive:
            return "widthwise/engines/compiled/libwidthwise.so" in archive.namelist()

    assert built.without_compiler.name.endswith("-py3-none-any.whl")
    assert not holds_code(built.without_compiler)
    assert holds_code(built.wheel) == (not built.wheel.name.endswith("-any.whl"))


def test_it_is_imported_and_says_what_it_can(environment, tmp_path):
    code = "import widthwise; print(widthwise.__version__, widthwise.__file__)"
    version, file = called(environment / "python", "-W", "error", "-c", code, cwd=tmp_path).split()
    assert version == widthwise.__version__
    assert Path(file).is_relative_to(environment.parent)
    assert called(environment / "widthwise", "--version", cwd=tmp_path).split()[-1] == version
    assert "widen" in called(environment / "widthwise", "widen", "--help", cwd=tmp_path)
    assert "No broken" in called(environment / "python", "-m", "pip", "check", cwd=tmp_path)


def test_a_study_runs_with_and_without_compiled_code(built, environment, tmp_path):
    assert ("compiled" in trained(environment, tmp_path / "a")) == (
        not built.wheel.name.endswith("-any.whl")
    )
    install(environment, "--no-deps", "--force-reinstall", built.without_compiler)
    assert "compiled" not in trained(environment, tmp_path / "b")
