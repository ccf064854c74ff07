"""The examples of docs/advice.md run."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "advice.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_example_runs(block):
    exec(block, {})


def test_there_are_examples():
    assert len(BLOCKS) == 2
