"""How long a study may still take, against sums worked out by hand, and what must always hold."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widthwise.runs.key import Run
from widthwise.study.time_left import time_left

RUN = Run(widening_factor=1.0, learning_rate=0.1, batch_size=8, momentum=0.0, steps=100, seed=0)
WIDE = replace(RUN, widening_factor=2.0)


def test_a_run_costs_what_those_of_its_width_cost_per_step():
    landed = [(RUN, 10.0), (RUN, 14.0), (WIDE, 50.0)]
    missing = {"a": replace(RUN, steps=300), "b": WIDE, "c": RUN}
    left = time_left(landed, missing, {"c": ("me", 5.0)})
    # 3 × 12 s, 50 s, and of 12 s the 7 s that are left; one process.
    assert left.seconds == pytest.approx(36.0 + 50.0 + 7.0)
    assert (left.hands, left.unknown) == (1, ())


def test_of_batch_sizes_the_nearest_counts():
    landed = [(RUN, 10.0), (replace(RUN, batch_size=512), 80.0)]
    missing = {"a": replace(RUN, batch_size=16), "b": replace(RUN, batch_size=256), "c": RUN}
    left = time_left(landed, missing, {"c": ("me", 10.0)})
    assert left.seconds == pytest.approx(10.0 + 80.0)


def test_hands_share_what_waits_but_not_what_one_holds():
    missing = dict.fromkeys("abcd", RUN)
    both = {"a": ("me", 0.0), "b": ("you", 0.0)}
    assert time_left([(RUN, 10.0)], missing, both).seconds == pytest.approx(20.0)
    # Three of them are in one pack of mine: nobody can help.
    mine = {"a": ("me", 4.0), "b": ("me", 4.0), "c": ("me", 4.0), "d": ("you", 4.0)}
    assert time_left([(RUN, 10.0)], missing, mine).seconds == pytest.approx(26.0)


def test_nothing_is_said_without_hands_or_landed_runs():
    assert time_left([(RUN, 10.0)], {"a": RUN}, {}).seconds is None
    assert time_left([], {"a": RUN}, {"a": ("me", 1.0)}).seconds is None


def test_widths_of_which_none_has_landed_are_named():
    left = time_left([(RUN, 10.0)], {"a": RUN, "b": WIDE}, {"a": ("me", 0.0)})
    assert left.unknown == (2.0,)
    assert left.seconds == pytest.approx(10.0)


@given(
    seconds=st.just(0.0) | st.floats(1e-6, 1e6),  # below, floats lose digits
    factor=st.floats(0.1, 10.0),
    num_missing=st.integers(1, 5),
    holders=st.sampled_from(["x", "xy", "xxyyz", "zyxzy"]),
)
def test_in_proportion_to_the_cost_of_a_run_and_no_more_than_one_hand_takes(
    seconds, factor, num_missing, holders
):
    missing = {str(number): RUN for number in range(num_missing)}
    in_flight = {key: (holder, 0.0) for key, holder in zip(missing, holders, strict=False)}
    left = time_left([(RUN, seconds)], missing, in_flight).seconds
    dearer = time_left([(RUN, factor * seconds)], missing, in_flight).seconds
    assert math.isclose(dearer, factor * left, rel_tol=1e-9, abs_tol=1e-300)
    alone = seconds * num_missing
    assert alone / len(set(in_flight.values())) * (1 - 1e-9) <= left <= alone * (1 + 1e-9)
