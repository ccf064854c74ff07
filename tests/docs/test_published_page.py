"""validation/architectures.md, and what other pages say of it."""

import re

import pytest
from pages import ROOT

PAGE = (ROOT / "validation" / "architectures.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| (\w+) \| (\S+) \| (\w+) \| (\S*) ?\|$", PAGE, flags=re.M)
TRAINED = [row for row in ROWS if row[3] in ("graph", "vmap", "chain", "compiled")]


def test_no_row_is_a_fault():
    assert len(ROWS) >= 40
    assert len(TRAINED) >= 34
    assert all(float(row[4]) < 1e-9 for row in TRAINED)
    assert {row[3] for row in ROWS if row not in TRAINED} == {"refused"}
    kinds = {row[1] for row in TRAINED}
    assert kinds == {"convolutional", "residual", "mixer", "transformer", "recurrent"}


def test_every_refusal_has_its_reason():
    refused = [f"{name} ({package})" for name, _, package, engine, _ in ROWS if engine == "refused"]
    reasons = dict(re.findall(r"^- (.+? \(\S+\)): (.+)$", PAGE, flags=re.M))
    assert list(reasons) == refused
    assert all(re.search(r"layer \'|forward", reason) for reason in reasons.values())


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("validation/architectures.md", r"\*\*(?P<t>\d+) of (?P<n>\d+) trained\*\*"),
        ("validation/README.md", r"for (?P<t>\d+) of (?P<n>\d+) published architectures"),
        ("docs/packing.md", r"Of (?P<n>\d+) published architectures, .* (?P<t>\d+) train equal"),
    ],
)
def test_pages_say_how_many(page, sentence):
    found = re.search(sentence, (ROOT / page).read_text(encoding="utf-8"))
    assert (int(found["t"]), int(found["n"])) == (len(TRAINED), len(ROWS))
