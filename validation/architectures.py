"""Train packs of published architectures, and each replica alone; say what served, and how equal.

    python -m validation.architectures [--only NAME …] [--output validation/architectures.md]

The networks come from the packages in PACKAGES; torchvision is installed without what it depends
on, which would bring another build of PyTorch:

    pip install torch==2.13.0 timm==1.0.31 …
    pip install --no-deps torchvision==0.28.0

Nothing else is downloaded: the networks are narrow and shallow, and their weights are random. Ends
with exit code 1 if a pack that trained is further off than TOLERANCE, if something else than a
refusal stopped one, or if fewer than WANTED were trained. About four minutes on one core.
"""

import argparse
import importlib
import logging
import platform
import re
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from validation.published.base import Architecture
from validation.published.comparison import (
    BATCH,
    LEARNING_RATES,
    MOMENTUM,
    STEPS,
    compare,
)
from validation.torchvision_here import import_torchvision
from widthwise.errors import InputError

PAGE = Path(__file__).parent / "architectures.md"
# The versions that the page was made with; others will do, but may build other networks.
PACKAGES = {
    "torch": "2.13.0",
    "timm": "1.0.31",
    "torchvision": "0.28.0",
    "transformers": "5.24.0",
    "x-transformers": "2.31.10",
    "vit-pytorch": "1.26.11",
    "pytorchcv": "0.0.74",
    "mlp-mixer-pytorch": "0.3.1",
    "g-mlp-pytorch": "0.1.5",
    "res-mlp-pytorch": "0.0.6",
    "minGRU-pytorch": "0.2.1",
}
MODULES = (
    "pytorch",
    "timm",
    "torchvision",
    "pytorchcv",
    "transformers",
    "x_transformers",
    "vit_pytorch",
    "small_packages",
)
TOLERANCE = 1e-9
# Training that stands still would agree whatever the pack does.
LEAST_MOVED = 1e-4
WANTED = 34


@dataclass(frozen=True)
class Row:
    """One architecture.

    Attributes:
        engine: that trained it; "" if it was refused or failed.
        difference: the largest, of losses, weights, buffers and logits.
        refusal: the error's sentence.
        fault: what should not have happened.
    """

    name: str
    kind: str
    engine: str = ""
    difference: float = 0.0
    refusal: str = ""
    fault: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], help="parts of names")
    parser.add_argument("--output", type=Path, help="write the page, of all, to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # what the packages warn of is not ours to mend
    logging.disable(logging.WARNING)
    rows = []
    for name, architecture in published().items():
        if any(part in name for part in arguments.only):
            rows.append(tried(name, architecture))
            print(line(rows[-1]), *filter(None, [rows[-1].refusal, rows[-1].fault]), flush=True)
    if arguments.output:
        arguments.output.write_text(page(rows), encoding="utf-8")
    trained = sum(bool(row.engine) for row in rows)
    print(f"{trained} of {len(rows)} trained")
    return int(any(row.fault for row in rows) or (arguments.only == [""] and trained < WANTED))


def published() -> dict[str, Architecture]:
    """All, by name, in the order of the page."""
    import_torchvision()
    found: dict[str, Architecture] = {}
    for module in MODULES:
        found |= importlib.import_module(f"validation.published.from_{module}").ARCHITECTURES
    kinds = ("convolutional", "residual", "mixer", "transformer", "recurrent")
    return dict(sorted(found.items(), key=lambda item: kinds.index(item[1].kind)))


def tried(name: str, architecture: Architecture) -> Row:
    try:
        found = compare(architecture)
    except InputError as refusal:
        return Row(name, architecture.kind, refusal=str(refusal))
    except Exception as error:  # anything else is a fault, which the page must not hide
        return Row(name, architecture.kind, fault=f"{type(error).__name__}: {error}")
    fault = ""
    if not found.worst() <= TOLERANCE:
        fault = f"differs by {found.worst():.1e}"
    elif found.moved < LEAST_MOVED:
        fault = f"moved its weights by {found.moved:.1e} only"
    return Row(name, architecture.kind, found.engine, found.worst(), fault=fault)


def line(row: Row) -> str:
    """Of the table."""
    name, package = re.fullmatch(r"(.*) \((.*)\)", row.name).groups()
    outcome = f"{row.engine} | {row.difference:.0e}" if row.engine else "refused | "
    return f"| {name} | {row.kind} | {package} | {outcome if not row.fault else 'FAULT | '} |"


def page(rows: Sequence[Row]) -> str:
    engines = Counter(row.engine for row in rows if row.engine)
    trained = sum(engines.values())
    by_engine = ", ".join(f"{count} by `{engine}`" for engine, count in engines.most_common())
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    refused = [row for row in rows if row.refusal]
    faults = [row for row in rows if row.fault]
    rates = ", ".join(map(str, LEARNING_RATES))
    parts = [
        "# Published architectures, packed and one by one",
        f"**{trained} of {len(rows)} trained** ({by_engine}); the rest were refused, for the "
        "reasons [below](#refused).",
        f"Each was built narrow and shallow with {len(LEARNING_RATES)} seeds and random weights, "
        f"and trained for {STEPS} steps of SGD in float64 (momentum {MOMENTUM}, batches of {BATCH} "
        f"random examples, learning rates {rates}; MNASNet, in which rounding grows a "
        "hundredfold a step at these rates, at a thousandth of them): once as a pack, once by "
        "`torch.optim.SGD` replica by replica. The difference is the largest of losses, weights, "
        "buffers and logits in evaluation mode, each relative to its own scale; above "
        f"{TOLERANCE:g} it would be a fault. Dropout, where it is on, has the masks of each "
        "replica's own stream.",
        "Written by `python -m validation.architectures --output validation/architectures.md`, "
        f"with Python {platform.python_version()}, {versions}.",
        "\n".join(
            [
                "| architecture | kind | package | engine | largest difference |",
                "|---|---|---|---|---|",
                *map(line, rows),
            ]
        ),
    ]
    for title, chosen in (("Refused", refused), ("Faults", faults)):
        if chosen:
            said = [
                f"- {row.name}: {' '.join((row.refusal or row.fault).split())}" for row in chosen
            ]
            parts += [f"## {title}", "\n".join(said)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
