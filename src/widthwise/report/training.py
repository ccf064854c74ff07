"""What the training options, and normalization in the networks, mean for what a report shows."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import polars as pl

from widthwise.adviser.gate import normalization_doubts
from widthwise.sgd.recipe import Recipe
from widthwise.text import exact, exact_list

PAPER_SETTING = "the paper's setting: constant learning rate, SGD, cross-entropy"

# Option → what is said where it differs from the paper's setting.
_SAID: dict[str, Callable[[Recipe], str]] = {
    "nesterov": lambda recipe: "Nesterov momentum",
    "weight_decay": lambda recipe: f"weight decay {exact(recipe.weight_decay)}",
    "schedule": lambda recipe: _SCHEDULES[recipe.schedule](recipe),
    "warmup": lambda recipe: f"linear warm-up over {exact(100 * recipe.warmup)} % of training",
    "loss": lambda recipe: recipe.loss.replace("-", " "),
    "label_smoothing": lambda recipe: f"label smoothing {exact(recipe.label_smoothing)}",
    "augmentation": lambda recipe: _AUGMENTATIONS[recipe.augmentation](recipe),
    "ghost_batch_size": lambda recipe: (
        f"batch norm over parts of {recipe.ghost_batch_size} examples (ghost batch norm)"
    ),
    "precision": lambda recipe: f"products in {recipe.precision}",
}
_SCHEDULES: dict[str, Callable[[Recipe], str]] = {
    "cosine": lambda recipe: "learning rate on a cosine to 0",
    "step": lambda recipe: (
        f"learning rate times {exact(recipe.decay_factor)} at "
        f"{exact_list(100 * part for part in recipe.decay_at)} % of training"
    ),
}
_AUGMENTATIONS: dict[str, Callable[[Recipe], str]] = {
    "flip": lambda recipe: "random flips",
    "crop": lambda recipe: f"random crops after padding by {recipe.crop_padding}",
    "crop-flip": lambda recipe: f"random flips and crops after padding by {recipe.crop_padding}",
}

# Keys of a family whose values are said before their name, or by words of their own.
_FAMILY_WORDS: dict[str, dict[str, str]] = {
    "parameterization": {},
    "normalization": {"none": "no normalization", "batch": "batch norm"},
}


def training_recipe(results: pl.DataFrame) -> Recipe:
    """The training options of a study, which all its runs share; what the table lacks is the
    default.

    >>> training_recipe(pl.DataFrame({"seed": [0, 1], "weight_decay": [5e-4, 5e-4]})).weight_decay
    0.0005
    """
    names = [field.name for field in dataclasses.fields(Recipe) if field.name in results.columns]
    options: dict[str, Any] = results.select(names).row(0, named=True) if names else {}
    if "decay_at" in options:
        options["decay_at"] = tuple(options["decay_at"])
    return Recipe(**options)


def training_description(recipe: Recipe) -> str:
    """The options that differ from the paper's setting, or that none does.

    >>> training_description(Recipe(schedule="cosine", weight_decay=5e-4))
    "the paper's setting, except: weight decay 0.0005, learning rate on a cosine to 0"
    """
    paper = Recipe()
    differing = [
        say(recipe) for name, say in _SAID.items() if getattr(recipe, name) != getattr(paper, name)
    ]
    if not differing:
        return PAPER_SETTING
    return f"the paper's setting, except: {', '.join(differing)}"


def family_description(family: Mapping[str, Any]) -> str:
    """A family's specification in words; batch norm is named where the family says so.

    >>> family_description({"kind": "cnn", "parameterization": "ntk", "depth": 2,
    ...                     "bias": True, "normalization": "batch"})
    'cnn: ntk parameterization, depth 2, bias yes, batch norm'
    >>> family_description({"kind": "nets.py:mine", "parameterization": "standard"})
    'nets.py:mine: standard parameterization'
    """
    said = []
    for name, value in family.items():
        if name in _FAMILY_WORDS:
            said.append(_FAMILY_WORDS[name].get(value, f"{value} {name}"))
        elif name != "kind":
            shown = ("yes" if value else "no") if isinstance(value, bool) else value
            said.append(f"{name.replace('_', ' ')} {shown}")
    return f"{family['kind']}: {', '.join(said)}"


def rate_changes_late(recipe: Recipe, late_fraction: float) -> bool:
    """Whether the learning rate is another at the end of training than earlier in late times.

    >>> rate_changes_late(Recipe(schedule="step", decay_at=(0.5, 0.9)), late_fraction=0.25)
    True
    >>> rate_changes_late(Recipe(warmup=0.1), late_fraction=0.25)
    False
    """
    late = 1.0 - late_fraction
    return (
        recipe.schedule == "cosine"
        or recipe.warmup > late
        or any(part > late for part in recipe.decay_at)
    )


def schedule_sentence(recipe: Recipe) -> str | None:
    """Which learning rate ε and ḡ speak of; None where there is only one."""
    if recipe.constant_rate:
        return None
    if recipe.schedule == "constant":
        return "The learning rate rises to ε in the beginning (warm-up); ḡ is that of ε."
    return (
        "The learning rate follows a schedule; ε and ḡ are those of its peak, before any decay, "
        "and not of the late times over which accuracies are averaged."
    )


def normalization_cautions(
    normalization: str | None, recipe: Recipe, batch_sizes: Collection[int]
) -> list[str]:
    """Why the law may not hold, or not mean what it says, in networks with normalization.

    Args:
        normalization: of the networks; None where it is not known, and nothing is said.
        recipe: of all runs.
        batch_sizes: of the settings that were run.
    """
    said = list(normalization_doubts(normalization, recipe.weight_decay))
    if normalization == "batch" and recipe.ghost_batch_size is None and len(set(batch_sizes)) > 1:
        said.append(
            "Batch norm's statistics are those of each batch, so settings of different B differ in "
            "more than the noise of SGD; ghost batch norm (training.ghost_batch_size) keeps them "
            "alike."
        )
    return said
