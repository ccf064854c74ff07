"""Optima of several widths print as a table, and are a dict."""

import math
import pickle

import numpy as np

from widthwise.analysis import locate_optimum
from widthwise.analysis.optima import Optima

SCALES = 2.0 ** np.arange(9)


def at(peak, num_seeds=4):
    rng = np.random.default_rng(0)
    means = 0.8 - 0.01 * (np.log2(SCALES) - peak) ** 2
    return locate_optimum(SCALES, means[:, None] + 1e-4 * rng.standard_normal((9, num_seeds)))


def test_a_row_a_width_with_the_numbers_of_each():
    found = Optima({2.0: at(9.5), 1.0: at(3.0)})
    header, first, second = str(found).splitlines()
    assert header.split("  ")[0] == "w"
    cells = [cell.strip() for cell in first.split("  ") if cell]
    assert cells[0] == "1"
    assert float(cells[1]) == round(found[1.0].noise_scale, len(cells[1].partition(".")[2]))
    assert cells[-2:] == ["4", "none"]
    assert second.split()[0] == "2"
    assert second.endswith("  may lie higher: edge of the grid")
    assert math.isinf(found[2.0].interval[1])
    assert repr(found) == str(found)
    assert max(map(len, str(found).splitlines())) < 100


def test_none_is_said():
    assert str(Optima()) == "no optimum is located at any width"


def test_it_is_a_dict():
    found = Optima({1.0: at(3.0)})
    assert dict(found) == found
    assert [*found] == [1.0]
    assert [*pickle.loads(pickle.dumps(found))] == [1.0]
