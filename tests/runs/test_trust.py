"""Whether a table of runs says how far it can be trusted."""

import pytest
from report_samples import content, results_table

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
