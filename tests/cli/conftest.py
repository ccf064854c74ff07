"""What these tests leave out."""

from quick_studies import proved_once, undrawn, untimed  # noqa: F401 - fixtures
