"""What tests of commands share."""

import pytest


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Drawing takes longer than all else these tests do; those of the report draw."""
    monkeypatch.setattr("widthwise.report.page._encode", lambda figure, kind: b"<svg/>")
