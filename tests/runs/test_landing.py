"""What lies in a landing object is the run that its name promises, whole, once."""

import copy
import json
import random

import pytest
from synthetic_runs import filled, group, rows_of, synthetic_run

from widthwise.runs.key import canonical, sha256
from widthwise.runs.landing import decode
from widthwise.runs.schema import results_table
from widthwise.runs.sealed import BrokenSealError, seal, unseal

RUN = synthetic_run(3, group(4))
OTHER = synthetic_run(4, group(4))
STRANGE = [None, True, -1, 0, 1, 10**400, 2**63, 0.5, float("nan"), float("inf"), "", "x", [], [1]]
STRANGE += [[None], ["a"], {}, {"a": 1}, [[1.0]], "\0", -0.0, [2**70], [10**400]]


def leaves(value, path=()):
    """Paths of everything in nested tables and lists, the whole aside."""
    inside = value.items() if isinstance(value, dict) else ()
    inside = enumerate(value) if isinstance(value, list) else inside
    for key, child in inside:
        yield (*path, key)
        yield from leaves(child, (*path, key))


def changed(value, path, new):
    whole = copy.deepcopy(value)
    node = whole
    for key in path[:-1]:
        node = node[key]
    if new is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = new
    return whole


def test_what_was_written_is_read():
    assert decode(RUN.encode(), RUN.key).row() == RUN.row()


def test_the_checksum_is_that_of_the_entries_however_they_are_written():
    fields = unseal(RUN.encode())
    assert decode(seal(fields, indent=2), RUN.key).row() == RUN.row()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (OTHER.encode(), "it holds the run"),
        (b"", "no JSON object with a checksum"),
        (b"{}", "no JSON object with a checksum"),
        (b"[]", "no JSON object with a checksum"),
        (b"PAR1" + bytes(range(256)), "no JSON object with a checksum"),
        (b"[" * 100_000, "no JSON object with a checksum"),
        (RUN.encode() * 2, "no JSON object with a checksum"),
        (RUN.encode()[:-100], "no JSON object with a checksum"),
        (RUN.encode()[:-1] + RUN.encode()[1:], "no JSON object with a checksum"),
        (RUN.encode().replace(b'"seed":3', b'"seed":4'), "does not match its checksum"),
        (RUN.encode().replace(b'"seed":3', b'"seed":3,"seed":3'), "stands twice"),
    ],
)
def test_anything_else_is_refused(content, problem):
    with pytest.raises(BrokenSealError, match=problem):
        decode(content, RUN.key)


def test_every_flipped_byte_is_noticed():
    content = RUN.encode()
    for place in random.Random(1).sample(range(len(content) - 1), 300):
        damaged = bytearray(content)
        damaged[place] ^= 1
        with pytest.raises(BrokenSealError):
            decode(bytes(damaged), RUN.key)


@pytest.mark.slow
def test_values_of_other_types_are_refused_or_mean_the_same(tmp_path):
    """With the checksum made again: whatever is taken can be read with all others."""
    fields = unseal(RUN.encode())
    store, _ = filled(tmp_path / "store", [])
    place = tmp_path / "store" / "landed" / f"{RUN.key}.json"
    taken = refused = 0
    for path in leaves(fields):
        for strange in (..., *STRANGE):
            content = seal(changed(fields, path, strange))
            try:
                decode(content, RUN.key)
            except BrokenSealError:
                refused += 1
                continue
            taken += 1
            place.write_bytes(content)
            assert list(rows_of(store)) == [RUN.key], (path, strange)
            results = results_table(store.table()[0], late_fraction=0.5, spec_hash="")
            assert results["run_id"].to_list() == [RUN.key]
    assert refused > 5 * taken > 0


def test_an_altered_entry_needs_its_checksum():
    fields = {**json.loads(RUN.encode()), "provenance": {}}
    kept = fields.pop("sha256")
    assert kept != sha256(canonical(fields))
