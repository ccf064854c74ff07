"""A study that somebody sent: looked at without running, importing or touching anything."""

import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress

import pytest
from polars.testing import assert_frame_equal
from tiny_studies import clouds, fields, in_this_process

from widthwise.errors import InputError
from widthwise.runs import analyses
from widthwise.study import Study
from widthwise.study.comparing import compare_studies

NETWORK = """
from torch import nn

def build(w):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4 * w), nn.ReLU(), nn.Linear(4 * w, 3))
"""
SPRUNG = "import pathlib\npathlib.Path(__file__).with_name('SPRUNG').touch()\nprint('imported')\n"
# Runs in a new process, so that what it loads can be told from what tests load.
MODULES = """
import sys
sys.argv = ["widthwise", *sys.argv[1:]]
import widthwise.cli
try:
    widthwise.cli.main()
except SystemExit as end:
    code = end.code
else:
    code = 0
print(*sorted(sys.modules), file=sys.stderr)
sys.exit(code)
"""
GRID = {"batch_size": [1, 2, 4, 8, 16], "learning_rate": 0.3, "seeds": 3}


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A folder with a study of one's own family and data on disk, run to its end."""
    folder = tmp_path_factory.mktemp("sender")
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        patch.setattr("widthwise.report.page._encode", lambda figure, kind: b"<svg></svg>")
        (folder / "nets.py").write_text(NETWORK)
        clouds().save(folder / "data.npz")
        data = {"name": "npz", "path": str(folder / "data.npz"), "preprocessing": "none"}
        spec = fields(family=f"{folder / 'nets.py'}:build", grid=GRID, data=data)
        study = Study.create(folder / "study", spec)
        study.run(1, progress=False)
        study.report()
    return folder


@pytest.fixture
def received(sent, tmp_path):
    """The same, without data, and with a family that does something when it is imported."""
    place = tmp_path / "received"
    shutil.copytree(sent / "study", place / "study")
    (place / "nets.py").write_text(SPRUNG + NETWORK)
    return place


def command(*words, **options):
    return subprocess.run(
        [sys.executable, "-c", MODULES, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def everything(folder):
    """Path → what is there, for all that lies below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        link = path.is_symlink()
        found[path] = path.readlink() if link else path.is_file() and path.read_bytes()
    return found


@pytest.mark.slow
class TestQueries:
    def test_status_loads_neither_torch_nor_the_family(self, received):
        before = everything(received)
        done = command("status", received / "study")
        assert done.returncode == 0, done.stderr
        assert "30 of 30" in done.stdout
        loaded = set(done.stderr.split())
        assert "polars" in loaded  # else the list says nothing
        assert not loaded & {"torch", "matplotlib", "scipy", "nets"}
        assert everything(received) == before

    def test_all_of_them_only_read(self, received, sent):
        study, own = Study.open(received / "study"), Study.open(sent / "study")
        before = everything(received)
        assert_frame_equal(study.results(), own.results(), check_exact=True)
        study.status(), study.summary(), study.optima(), compare_studies(study, own)
        assert everything(received) == before

    def test_the_report_imports_nothing_and_writes_its_own_files_only(self, received):
        """It needs no data either."""
        before = everything(received)
        Study.open(received / "study").report()
        after = everything(received)
        changed = {p for p in after if after[p] != before.get(p)} | (before.keys() - after.keys())
        ours = received / "study"
        assert all(
            path in (ours / "report.html", ours / "results.parquet")
            or ours / "figures" in path.parents
            for path in changed
        )
        assert not (received / "SPRUNG").exists()

    def test_moved_zipped_and_unzipped(self, received, tmp_path, sent):
        with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
            for path in sorted((received / "study").rglob("*")):
                archive.write(path, path.relative_to(received))
        with zipfile.ZipFile(tmp_path / "study.zip") as archive:
            archive.extractall(tmp_path / "else where")
        study = Study.open(tmp_path / "else where" / "study")
        assert study.status().runs_landed == 30
        assert_frame_equal(study.results(), Study.open(sent / "study").results(), check_exact=True)
        assert study.report().exists()

    def test_an_export_names_no_place(self, received, tmp_path, sent):
        page = Study.open(received / "study").export(tmp_path / "out")
        kinds = {path.name for path in (tmp_path / "out").iterdir()}
        assert kinds == {"report.html", "results.parquet", "figures"}
        text = page.read_text()
        assert str(sent) not in text
        assert str(received) not in text
        assert os.fsencode(str(sent)) not in (tmp_path / "out" / "results.parquet").read_bytes()

    def test_one_command_draws_one_bootstrap(self, received, monkeypatch):
        from widthwise.cli import studies

        calls = []
        located = analyses.locate_optimum
        monkeypatch.setattr(
            analyses, "locate_optimum", lambda *a, **k: calls.append(1) or located(*a, **k)
        )
        studies.report(received / "study")
        assert len(calls) == 2  # one a width

    def test_training_says_what_it_lacks(self, received):
        with pytest.raises(InputError, match=r"data\.npz"):
            Study.open(received / "study").run(1, progress=False)


# Names in a study's folder, and what may lie behind them.
NAMES = (
    "study.json",
    "asked.json",
    "results.parquet",
    "report.html",
    "figures",
    "figures/optimum-vs-width.svg",
    "store",
    "store/landed",
    "store/compacted",
    "store/claims",
    "store/holders",
    "store/measured",
    "store/checkpoints",
    "store/set-aside",
    "stable-rates.json",
    "rounds",
    "data",
    "pack-sizes-0123456789abcdef.json",
    "store/withdrawn",
    "store/compacted/000001.json",
    "store/measured/0.json",
    "figures/optimum-vs-width.pdf",
)
# What the report writes, or reads beside the results.
WRITTEN_WITH = (
    "results.parquet",
    "report.html",
    "figures",
    "figures/optimum-vs-width.svg",
    "figures/optimum-vs-width.pdf",
    "stable-rates.json",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES, "store/landed/*"])
@pytest.mark.parametrize("target", ["outside", "dangling", "loop"])
def test_links_lead_nowhere(received, tmp_path, name, target):
    """Nothing outside is read into results, written, truncated or removed."""
    outside = tmp_path / "outside"
    shutil.copytree(received / "study", outside)
    victim = received / "study" / name
    if name.endswith("*"):
        victim = sorted((received / "study" / "store" / "landed").iterdir())[0]
    inner = victim.relative_to(received / "study")
    if victim.is_dir():
        shutil.rmtree(victim)
    victim.unlink(missing_ok=True)
    victim.parent.mkdir(parents=True, exist_ok=True)
    goals = {"outside": outside / inner, "dangling": tmp_path / "nowhere", "loop": victim}
    victim.symlink_to(goals[target])
    before = everything(outside)
    queries = ("status", "results", *(["report"] if name in WRITTEN_WITH else []))
    for query in queries:
        with suppress(InputError):
            getattr(Study.open(received / "study"), query)()
    assert everything(outside) == before
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_linked_shards_and_lists_do_not_count(received, tmp_path, kind):
    ours, outside = received / "study", tmp_path / "outside"
    Study.open(ours).collect_garbage()
    assert Study.open(ours).status().runs_landed == 30
    (victim,) = (ours / "store" / "compacted").glob(f"*.{kind}")
    victim.rename(outside)
    victim.symlink_to(outside)
    before = outside.read_bytes()
    assert Study.open(ours).status().runs_landed == 0
    assert len(Study.open(ours).results()) == 0
    assert Study.open(ours).verify()
    assert outside.read_bytes() == before


@pytest.mark.slow
def test_dates_and_permissions_do_not_matter(received):
    for path in sorted((received / "study").rglob("*")):
        os.utime(path, (0, 0))
        path.chmod(0o700 if path.is_dir() else 0o400)
    assert Study.open(received / "study").status().runs_landed == 30
    assert Study.open(received / "study").report().exists()
