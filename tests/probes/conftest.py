"""Networks of one kind prove their engine once: tests/engines is for that."""

from quick_studies import proved_once, undrawn, untimed  # noqa: F401 - fixtures
