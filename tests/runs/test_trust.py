"""Whether a table of runs says how far it can be trusted."""

import dataclasses

import polars as pl
import pytest
from report_samples import content, results_table

from widthwise.analysis.doubts import KINK
from widthwise.runs.trust import doubts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"seeds": 3}, ["settings near an optimum were run with 3 seeds only"]),
        ({"still_rising": True}, ["accuracy was still changing at"]),
    ],
)
def test_few_seeds_and_training_that_had_not_arrived(changes, said):
    made = content(results_table(widths=(1.0, 2.0, 4.0), **changes))
    found = doubts(made.results, made.optima)
    assert len(found) == len(said)
    for text, words in zip(found, said, strict=True):
        assert words in text


def test_a_law_over_optima_that_are_mostly_in_doubt():
    made = content(results_table(widths=(1.0, 2.0, 4.0)))

    def said(*doubtful):
        doubt = ("scores below 1 are level as far as their seeds can tell",)
        optima = {
            width: dataclasses.replace(optimum, doubts=doubt if width in doubtful else (KINK,))
            for width, optimum in made.optima.items()
        }
        return doubts(made.results, optima)

    assert said(1.0, 4.0) == ("at w = 1 and 4 scores are level up to an edge, or have two peaks",)
    assert said(4.0) == said() == ()


def test_engines_that_differ_between_widths_are_said_and_balanced_ones_are_not():
    made = content(results_table(widths=(1.0, 2.0, 4.0)))
    wide = pl.when(pl.col("widening_factor") > 2).then(pl.lit("vmap")).otherwise(pl.lit("chain"))
    even = pl.when(pl.col("seed") % 2 == 0).then(pl.lit("vmap")).otherwise(pl.lit("chain"))
    (said,) = doubts(made.results.with_columns(engine=wide), made.optima)
    assert said == (
        "widths were trained by different engines (w = 1: chain; w = 2: chain; w = 4: vmap)"
    )
    assert doubts(made.results.with_columns(engine=even), made.optima) == ()
