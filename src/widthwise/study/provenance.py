"""What a report says of where its numbers come from."""

from collections.abc import Sequence

import polars as pl

from widthwise.hardware import describe_hardware
from widthwise.runs.blobs import Damage
from widthwise.study.record import StudyRecord
from widthwise.text import count


def provenance(
    record: StudyRecord, results: pl.DataFrame, num_asked: int | None, damage: Sequence[Damage]
) -> dict[str, str]:
    """Name → value, for the page.

    Args:
        record: of the study.
        results: its runs that have landed.
        num_asked: all its runs; None if that is not known.
        damage: what is not counted.
    """
    from widthwise.report.training import family_description, training_description  # Matplotlib

    spec, data = record.spec, record.data
    seeds = sorted(results["seed"].unique().to_list())
    sizes = f"{data.num_train} training, {data.num_test} test"
    if data.num_validation:
        sizes += f", {data.num_validation} validation"
    given = ", given in memory" if data.in_memory else ""
    of = "" if num_asked is None else f" of {num_asked} planned"
    said = {
        "data": f"{data.name} ({sizes} examples of shape {data.input_shape}{given})",
        "inputs": data.preparation,
        "data fingerprint (SHA-256)": data.fingerprint,
        "family": family_description(spec.portable_fields()["family"]),
        "training": training_description(spec.training.recipe),
        "specification (SHA-256)": spec.hash,
        "seeds": _listed(seeds),
        "runs": f"{len(results)}{of}",
        "training time": f"{results['seconds'].sum() / 60:.1f} core minutes",
        "trained on": _distinct(results, "device", "processor", "instruction_set"),
        "engine": _distinct(results, "engine"),
        "with": _distinct(results, "versions"),
        "this page was written on": describe_hardware(),
    }
    if damage:
        said["not counted"] = f"{count(len(damage), 'damaged file')} of the store"
    if record.is_old:
        said["format"] = (
            "2, of Widthwise 0.1: its runs have other initial weights than today's of the same "
            "seed, and are never mixed with new ones"
        )
    return {name: value for name, value in said.items() if value}


def _listed(seeds: Sequence[int]) -> str:
    """
    >>> _listed([0, 1, 2, 3]), _listed([0, 2]), _listed([7])
    ('0 to 3', '0, 2', '7')
    """
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _distinct(results: pl.DataFrame, *columns: str) -> str:
    rows = results.select(columns).unique().sort(columns).drop_nulls().rows()
    return "; ".join(" ".join(row) for row in rows)
