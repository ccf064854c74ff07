"""What the other tests compare with, and that the comparison can fail."""

import json

import polars as pl
import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_what_was_trained_undisturbed_is_the_same_as_itself(undisturbed):
    undisturbed.same_as(undisturbed.results())


def test_the_smallest_change_is_noticed(undisturbed):
    changed = undisturbed.results().with_columns(pl.col("initial_train_loss") * (1 + 1e-15))
    with pytest.raises(AssertionError):
        undisturbed.same_as(changed)


def test_a_run_begun_after_it_was_seen_to_have_landed_is_noticed(undisturbed):
    file = undisturbed.folder / "begun"
    before = file.read_text()
    line = {**undisturbed.begun()[0], "late": undisturbed.begun()[0]["keys"]}
    file.write_text(before + json.dumps(line) + "\n")
    with pytest.raises(AssertionError):
        undisturbed.same_as(undisturbed.results())
    file.write_text(before)
