"""The Python on the pages runs; what does not says why."""

import pytest
from pages import PAGES, blocks, named

PYTHON = [
    pytest.param(block, id=f"{named(page)}-{i}")
    for page in PAGES
    for i, block in enumerate(
        b for b in blocks(page.read_text(encoding="utf-8")) if b.language == "python"
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON)
def test_runs_or_says_why_not(block, tmp_path, monkeypatch):
    compile(block.text, "snippet", "exec")
    if block.why_not is None:
        monkeypatch.chdir(tmp_path)
        exec(block.text, {"__name__": "snippet"})


def test_a_planted_wrong_snippet_is_noticed():
    (block,) = blocks("```python\nimport widthwise as ww\nww.no_such_name\n```")
    assert block.why_not is None
    with pytest.raises(AttributeError, match="no_such_name"):
        exec(block.text, {})


def test_a_reason_is_read_off_the_line_above():
    (block,) = blocks("<!-- not run: trains a study -->\n```python\nx\n```")
    assert block.why_not == "trains a study"
