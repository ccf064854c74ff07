"""What a study is told to run next: values worked out by hand, and commands that are understood."""

import dataclasses
import math
import shlex

import numpy as np
import pytest

from widthwise.analysis import Optimum, fit_law
from widthwise.analysis.settings import NOT_ARRIVED
from widthwise.runs.analyses import Summary
from widthwise.runs.tables import SettingRow
from widthwise.study.next_steps import next_steps
from widthwise.study.spec import StudySpec

SCALES = (0.25, 0.5, 1.0, 2.0)
NOISE = {"widening_factor": [1, 2], "normalized_noise_scale": list(SCALES), "seeds": 5}
PRODUCT = {"widening_factor": [1, 2], "learning_rate": [0.5, 1], "batch_size": [2, 8, 32]}


def spec(grid, **more):
    return StudySpec.parse({"grid": grid, "training": {"steps": 100}} | more)


def row(width, scale, *, lost=0, seeds=5):
    return SettingRow(
        widening_factor=width,
        learning_rate=scale,
        batch_size=1,
        momentum=0.0,
        init_variance=1.0,
        normalized_noise_scale=scale,
        steps=100,
        num_seeds=seeds,
        num_diverged=lost,
        test_accuracy=0.8,
        test_accuracy_sem=0.01,
        validation_accuracy=None,
        validation_accuracy_sem=None,
        plateau_slope=0.0,
        plateau_slope_sem=0.001,
    )


def rows(**options):
    return [row(width, scale, **options) for width in (1.0, 2.0) for scale in SCALES]


def optimum(place=0.7, *, censoring="none", reason=None, spread=0.02):
    ends = {
        "none": (place / 1.1, place * 1.1),
        "low": (0.0, place),
        "high": (place, math.inf),
    }[censoring]
    return Optimum(
        noise_scale=place,
        interval=ends,
        score=0.8,
        score_interval=(0.79, 0.81),
        censoring=censoring,
        reason=reason,
        best_index=0,
        num_seeds=5,
        sampling_error=None,
        samples=np.random.default_rng(round(1e3 * place)).normal(math.log(place), spread, 400),
        measured=(0.25, 2.0),
    )


def summary(first, second, *, with_law=False):
    found = {w: o for w, o in ((1.0, first), (2.0, second)) if o is not None}
    law = fit_law(list(found), list(found.values())) if with_law else None
    problems = {w: "too few" for w in (1.0, 2.0) if w not in found}
    return Summary(optima=found, problems=problems, law=law, law_problem=None if law else "none")


def asked(before, command):
    """The specification that a command asks for."""
    first, second, place, *options = shlex.split(command)
    assert (first, second, place) == ("widthwise", "run", "studies/my study")
    # Another training uses no run that is there, and the command says so.
    anew = any(word.startswith("training.") for word in options)
    assert options[-1:] == ["--yes"] if anew else "--yes" not in options
    options = [word for word in options if word != "--yes"]
    assert options[::2] == ["--set"] * (len(options) // 2)
    return StudySpec.parse(before, options[1::2])


def steps(before, settings, found, num_train=1000):
    said, command = next_steps(before, settings, found, num_train, "studies/my study")
    return said, None if command is None else asked(before, command)


def test_beyond_an_edge_of_the_grid_by_its_ratio_at_that_width_alone():
    before = spec(NOISE)
    found = summary(optimum(), optimum(2.0, censoring="high", reason="edge of the grid"))
    said, after = steps(before, rows(), found)
    assert said == ("At w = 2 the optimum may lie above ḡ = 2: add ḡ = 4, 8 and 16.",)
    assert after.grid[0] == before.grid[0]
    assert after.grid[1].widening_factor == (2.0,)
    assert after.grid[1].normalized_noise_scale == (4.0, 8.0, 16.0)
    assert after.grid[1].stability_margin == before.grid[0].stability_margin


@pytest.mark.parametrize(
    ("grid", "censoring", "reason", "num_train", "said"),
    [
        (
            NOISE,
            "low",
            "edge of the grid",
            1000,
            "below ḡ = 0.25: add ḡ = 0.0312, 0.0625 and 0.125.",
        ),
        (NOISE, "high", "batch size 1", 1000, "with ε up to 0.5 of the largest stable one."),
        (NOISE, "high", "stability", 1000, "diverges above ḡ = 2: add ḡ = 2 at half the ε."),
        (PRODUCT, "high", "edge of the grid", 1000, "above ḡ = 2: add B = 1."),
        (PRODUCT | {"batch_size": [1, 2]}, "high", "batch size 1", 1000, "add ε = 2, 4 and 8."),
        (PRODUCT, "low", "edge of the grid", 1000, "add B = 64, 128 and 256."),
        (PRODUCT, "low", "edge of the grid", 40, "add ε = 0.0625, 0.125 and 0.25."),
        (PRODUCT, "high", "stability", 1000, "add ε = 0.25 with B = 1, 4 and 16."),
    ],
)
def test_what_keeps_an_optimum_open_decides_what_is_added(grid, censoring, reason, num_train, said):
    before = spec(grid)
    place = 2.0 if censoring == "high" else 0.25
    found = summary(optimum(), optimum(place, censoring=censoring, reason=reason))
    (sentence,), after = steps(before, rows(), found, num_train)
    assert sentence.startswith("At w = 2 ")
    assert sentence.endswith(said)
    assert after.grid[0] == before.grid[0]
    assert after.grid[1].widening_factor == (2.0,)


@pytest.mark.parametrize(("wrong", "is_said"), [(0.0, True), (1.0, True), (1.5, False)])
def test_where_nearly_all_is_right_other_data_are_asked_for(wrong, is_said):
    open_end = optimum(2.0, censoring="high", reason="edge of the grid")
    score = dataclasses.replace(open_end, score=1.0 - wrong / 200, num_test=200)
    (sentence,), after = steps(spec(NOISE), rows(), summary(optimum(), score))
    assert ("choose harder data or fewer training examples" in sentence) == is_said
    assert (after is None) == is_said


def test_widths_that_lack_the_same_share_a_sentence_and_a_grid():
    bound = optimum(2.0, censoring="high", reason="edge of the grid")
    (sentence,), after = steps(spec(NOISE), rows(), summary(bound, bound))
    assert sentence.startswith("At w = 1 and 2 the optimum may lie above")
    assert len(after.grid) == 2


def test_two_settings_are_too_few_and_unstable_ones_too_noisy():
    two = [row(width, scale) for width in (1.0, 2.0) for scale in (0.5, 1.0)]
    (sentence,), after = steps(spec(NOISE), two, summary(None, None))
    assert "2 noise scales cannot show a peak: add ḡ = 0.0625, 0.125, 0.25, 2, 4 and 8" in sentence
    assert after.grid[1].widening_factor == (1.0, 2.0)
    (sentence,), after = steps(spec(NOISE), rows(lost=5), summary(None, None))
    assert "fewer than three settings are stable: add ḡ = 0.0312, 0.0625 and 0.125" in sentence


def test_training_that_had_not_arrived_is_made_longer():
    found = summary(optimum(), optimum(0.25, censoring="low", reason=NOT_ARRIVED))
    (sentence,), after = steps(spec(NOISE), rows(), found)
    assert sentence.endswith("train longer, training.steps = 200.")
    assert after.training.steps == 200


def test_few_seeds_are_made_more():
    grid = NOISE | {"seeds": [7]}
    (sentence,), after = steps(spec(grid), rows(seeds=1), summary(optimum(), optimum()))
    assert sentence == "1 seed a setting: add seeds, to 8."
    assert after.grid[0].seeds == (0, 1, 2, 3, 4, 5, 6, 7)


def test_a_law_that_is_not_decided_takes_seeds_or_wider_networks():
    wide = summary(optimum(0.7, spread=0.25), optimum(1.0, spread=0.25), with_law=True)
    assert wide.law.verdict == "inconclusive"
    (sentence,), after = steps(spec(NOISE), rows(), wide)
    assert "add w = 4" in sentence
    assert after.grid[0].widening_factor == (1.0, 2.0, 4.0)
    near = summary(optimum(0.7, spread=0.09), optimum(1.0, spread=0.09), with_law=True)
    assert near.law.verdict == "inconclusive"
    (sentence,), after = steps(spec(NOISE), rows(), near)
    assert "times the runs" in sentence
    assert 5 < len(after.grid[0].seeds) <= 20


def test_nothing_is_asked_for_once_all_is_decided():
    decided = summary(optimum(0.7), optimum(1.4), with_law=True)
    assert decided.law.verdict == "proportional"
    assert next_steps(spec(NOISE), rows(), decided, 1000, "x") == ((), None)


def test_one_width_asks_for_wider_ones():
    (sentence,), after = steps(spec(NOISE), rows()[:4], summary(optimum(), None))
    assert sentence == "One width has no law: add w = 2 and 4."
    assert after.grid[0].widening_factor == (1.0, 2.0, 4.0)


def test_a_search_gets_a_longer_grid_of_its_own():
    grid = {key: value for key, value in NOISE.items() if key != "seeds"}
    found = summary(optimum(), optimum(2.0, censoring="high", reason="edge of the grid"))
    _, after = steps(spec(grid, search="adaptive"), rows(), found)
    (one,) = after.grid
    assert one.normalized_noise_scale == (*SCALES, 4.0, 8.0, 16.0)
