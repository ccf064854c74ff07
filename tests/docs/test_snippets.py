"""What the pages show runs, and prints what they show; what does not run says why."""

import signal
import tomllib

import pytest
from pages import PAGES, SITE, Block, blocks, given, named
from quick_studies import proved_once, undrawn, untimed  # noqa: F401 - fixtures
from running import run, run_page, shows
from tiny_studies import fields, finished_study, in_this_process

OTHERS = [page for page in PAGES if page not in SITE]
PYTHON = [
    pytest.param(block, id=f"{named(page)}-{i}")
    for page in OTHERS
    for i, block in enumerate(
        b for b in blocks(page.read_text(encoding="utf-8")) if b.language == "python"
    )
]
# As every page is told in text, so is every page of the site that has something to run.
RUNNING = [
    page
    for page in SITE
    if any(
        block.language in ("python", "sh") and block.why_not is None
        for block in blocks(page.read_text(encoding="utf-8"))
    )
]
GRID = {"widening_factor": [1, 2, 4], "batch_size": [2, 4, 8, 16], "learning_rate": 0.1, "seeds": 3}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The reader's folder. Studies train in this process, and sizes of packs are not measured."""
    in_this_process(monkeypatch)
    monkeypatch.setattr(
        "widthwise.study.scheduling.measured_sizes",
        lambda family, dataset, recipe, largest, **options: largest,
    )
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def a_study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        directory = tmp_path_factory.mktemp("studies") / "my_study"
        finished_study(directory, fields(grid=GRID))
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON)
def test_runs_or_says_why_not(block, folder):
    run(block, folder)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=named)
def test_a_page_runs_from_top_to_bottom(page, folder, request):
    text = page.read_text(encoding="utf-8")
    study = request.getfixturevalue("a_study") if "studies/my_study" in given(text) else None
    assert run_page(text, folder, study)


@pytest.mark.parametrize("page", SITE, ids=named)
def test_tables_of_specifications_are_toml(page):
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.why_not is not None:
            assert block.why_not.strip()


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
    page = "<!-- file: a.py -->\n```python\nprint('here')\n```\n```sh\npython a.py\n```\n```text\nhere\n```"
    assert run_page(page, folder) == 1


def test_a_reason_is_read_off_the_line_above(folder):
    (block,) = blocks("<!-- not run: trains a study -->\n```python\nx\n```")
    assert block == Block("python", "x\n", why_not="trains a study")
    assert not run(block, folder)


def test_dots_stand_for_anything():
    assert shows("in … s\n", "in 3 s  \n")
    assert not shows("in … s", "in 3 h")
