"""What the pages show runs, and prints what they show; what does not run says why."""

import contextlib
import re
import signal
import sys
import tomllib

import pytest
from pages import PAGES, ROOT, SITE, Block, blocks, given, named, prose
from quick_studies import leave_out_drawing, leave_out_timing, prove_once
from running import run, run_page, shows
from tiny_studies import in_this_process

from widthwise.engines.compiled.build import LIBRARY

OTHERS = [page for page in PAGES if page not in SITE]
PYTHON = [
    pytest.param(block, id=f"{named(page)}-{i}")
    for page in OTHERS
    for i, block in enumerate(
        b for b in blocks(page.read_text(encoding="utf-8")) if b.language == "python"
    )
]
RUNNING = [
    page
    for page in SITE
    if page.name != "tutorial.md"
    and any(
        block.language in ("python", "sh") and block.why_not is None
        for block in blocks(page.read_text(encoding="utf-8"))
    )
]
FIGURE = re.compile(r"\d+\.\d+|\d{2,}")
TUTORIAL = ROOT / "docs" / "tutorial.md"


@contextlib.contextmanager
def reader_in(folder):
    """Everything runs in this folder and this process; nothing is timed, drawn or measured, which
    takes longer than the runs."""
    before, loaded = signal.getsignal(signal.SIGTERM), {*sys.modules}
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        patch.setattr(
            "widthwise.study.scheduling.measured_sizes",
            lambda family, dataset, recipe, largest, **options: largest,
        )
        leave_out_drawing(patch)
        leave_out_timing(patch)
        prove_once(patch)
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield folder
    signal.signal(signal.SIGTERM, before)
    for name in {*sys.modules} - loaded:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path):
    with reader_in(tmp_path):
        yield tmp_path


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """The folder in which the tutorial has been gone through."""
    if not LIBRARY.exists():
        pytest.skip("compiled library is not built: the tutorial shows its digits")
    with reader_in(tmp_path_factory.mktemp("tutorial")) as folder:
        assert run_page(TUTORIAL.read_text(encoding="utf-8"), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON)
def test_runs_or_says_why_not(block, folder):
    run(block, folder)


@pytest.mark.slow
def test_the_tutorial_runs_from_top_to_bottom(tutorial):
    assert (tutorial / "studies" / "question-law" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=named)
def test_a_page_runs_from_top_to_bottom(page, folder, request):
    """A study that a page takes to be there is that of the tutorial."""
    text = page.read_text(encoding="utf-8")
    study = None
    if "studies/my_study" in given(text):
        study = request.getfixturevalue("tutorial") / "studies" / "question-law"
    assert run_page(text, folder, study)


@pytest.mark.parametrize("page", SITE, ids=named)
def test_tables_of_specifications_are_toml(page):
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.why_not is not None:
            assert block.why_not.strip()


def untold(text):
    """Figures of a page's prose, of two digits or more, that no block of it has."""
    shown = {figure for block in blocks(text) for figure in FIGURE.findall(block.text)}
    told = re.sub(r"`[^`\n]+`", "", prose(text))
    return sorted({*FIGURE.findall(told)} - shown)


@pytest.mark.parametrize("name", ["tutorial.md", "howto/plan.md"])
def test_prose_tells_of_what_is_shown(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert untold(text) == []
    assert untold(f"{text} It is 0.987.") == ["0.987"]


def test_a_planted_wrong_snippet_is_noticed(folder):
    (block,) = blocks("```python\nimport widthwise as ww\nww.no_such_name\n```")
    with pytest.raises(AttributeError, match="no_such_name"):
        run(block, folder)


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("```sh\nwidthwise widen --learning-rate 1 --batch-size 0 -w 2\n```", "failed"),
        ("```sh\nwidthwise init --example list\n```\n\n```text\ncnn\n```", "but it is"),
        ("```sh\ncurl example.org\n```", "nor is said why"),
        ("```python\nprint(1)\n```\n```text\n2\n```", "but it is"),
    ],
)
def test_planted_faults_of_pages_are_noticed(page, said, folder):
    with pytest.raises(AssertionError, match=said):
        run_page(page, folder)


def test_files_are_there_for_what_follows(folder):
    page = "<!-- file: a.py -->\n```python\nprint('here')\n```\n```sh\npython a.py\n```\n"
    assert run_page(f"{page}```text\nhere\n```", folder) == 1
    with pytest.raises(AssertionError, match="but it is"):
        run_page(f"{page}```text\nthere\n```", folder)


def test_a_reason_is_read_off_the_line_above(folder):
    (block,) = blocks("<!-- not run: trains a study -->\n```python\nx\n```")
    assert block == Block("python", "x\n", why_not="trains a study")
    assert not run(block, folder)


def test_dots_stand_for_anything():
    assert shows("in … s\n", "in 3 s  \n")
    assert not shows("in … s", "in 3 h")
