"""Tests that compare runs to the last digit although their packs differ, or show such digits."""

import pytest

from widthwise.engines.compiled.build import LIBRARY

trained_alone = pytest.mark.skipif(
    not LIBRARY.exists(),
    reason="compiled library is not built: without it the last digits of a run depend on its pack",
)
