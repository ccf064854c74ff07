"""docs/performance.md says what the benchmarks' records hold."""

import json
import re
from statistics import geometric_mean, median

import pytest
from pages import ROOT

PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def record(name):
    return json.loads((ROOT / "docs" / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))


def cells(name):
    return record(name)["cells"]


def speedup(cell):
    return median(p / c for p, c in zip(cell["packed"], cell["compiled"], strict=True))


def share(cell):
    return 100 * median(f / c for f, c in zip(cell["floor"], cell["compiled"], strict=True))


def test_compiled_against_packed():
    for batches, label in (((1, 2, 4, 8), "B = 1, 2, 4, 8"), ((16, 32), "B = 16, 32")):
        ratios = [speedup(c) for c in cells("compiled") if c["batch_size"] in batches]
        said = f"{geometric_mean(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})"
        assert f"| {label} | {said} |" in PAGE


def test_what_the_floor_allows():
    def possible(cell):
        bounds = map(min, cell["floor"], cell["compiled"])
        return median(p / b for p, b in zip(cell["packed"], bounds, strict=True))

    means = [
        geometric_mean(possible(c) for c in cells("compiled") if c["batch_size"] in batches)
        for batches in ((1, 2, 4, 8), (16, 32))
    ]
    said = "{:.1f} times as fast as packed at B ≤ 8, and {:.1f} times at B = 16 and 32"
    assert said.format(*means) in PAGE


def test_share_of_the_floor():
    several = [c for c in cells("compiled") if c["batch_size"] > 1]
    wide = geometric_mean(share(c) for c in several if c["width"] >= 64)
    narrow = geometric_mean(share(c) for c in several if c["width"] <= 32)
    found = re.search(
        r"at (\d+) % of the floor for H ≥ 64 and at (\d+) % for H ≤ 32, .*, at (\d+) %", PAGE
    )
    said = [round(wide), round(narrow), round(min(map(share, several)))]
    assert [int(part) for part in found.groups()] == said
    alone = (c for c in cells("compiled") if c["batch_size"] == 1 and c["width"] >= 64)
    assert f"({geometric_mean(map(share, alone)):.0f} % for H ≥ 64)" in PAGE


@pytest.mark.parametrize(
    ("name", "group", "digits"),
    [
        ("small_mlp_peers", "JAX", 2),
        ("small_mlp_peers", "loops", 1),
        ("mlp_peers", "loops", 2),
        ("mlp_peers", "compiled loops", 2),
        ("mlp_peers", "ensembles", 2),
    ],
)
def test_means_against_peers(name, group, digits):
    mean = record(name)["geometric_means"][group]
    center, low, high = (f"{mean[part]:.{digits}f}" for part in ("center", "low", "high"))
    assert f"| {center} ({low}–{high}) | Zen 3 |" in PAGE


def test_lowest_and_highest_cell_against_jax():
    ratios = []
    for cell in cells("small_mlp_peers"):
        times = cell["times"]
        forms = (way for way in times if way.startswith("JAX"))
        best = min(forms, key=lambda way: median(times[way]))
        ratios.append(median(b / o for b, o in zip(times[best], times["Widthwise"], strict=True)))
    assert f"{min(ratios):.2f} in the lowest" in PAGE
    assert f"{max(ratios):.2f} in the highest" in PAGE
