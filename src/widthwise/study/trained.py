"""Trained networks given back: to be used, and to be trained on."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor, nn

from widthwise.data import Dataset
from widthwise.errors import FitError, InputError
from widthwise.families import WidthFamily
from widthwise.runs.landing import digest_of
from widthwise.runs.sealed import BrokenSealError
from widthwise.runs.store import Store
from widthwise.runs.tables import selected_on
from widthwise.runs.weights import TrainedWeights
from widthwise.sgd.batches import Sampling
from widthwise.sgd.feeding import BatchFeed
from widthwise.sgd.learning_rate import rate_factors
from widthwise.sgd.losses import mean_loss
from widthwise.sgd.recipe import Recipe
from widthwise.study.keeping import best_settings, runs_of_best
from widthwise.training.networks import build_modules, network_inputs

# "best", the id of a run, a row of the results, or a table with one row.
ChosenRun = str | Mapping[str, Any] | pl.DataFrame
_STEPS_AHEAD = 64


class Resumed(NamedTuple):
    """A run that goes on where it ended.

    Attributes:
        module: the trained network, in the mode (training or evaluation) in which it is trained.
        optimizer: with the run's learning rate, momentum and weight decay, and its momentum
            buffers. With a schedule the rate is that of the run's last step.
        batches: endless: the inputs (B, *shape) and class indices (B,) that the run would get next.
        loss: (logits (B, classes), class indices (B,)) → the mean loss that was trained.
    """

    module: nn.Module
    optimizer: torch.optim.SGD
    batches: Iterator[tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]


def chosen_row(results: pl.DataFrame, run: ChosenRun) -> dict[str, Any]:
    """The run that is meant, as a row of the results with their curves.

    Args:
        results: of the study.
        run: "best", the id of a run, a row, or a table of one row.

    Raises:
        InputError: if it is none of the study's runs.
        FitError: if there is no best one.
    """
    if isinstance(run, str) and run == "best":
        return _best(results)
    if isinstance(run, pl.DataFrame):
        if len(run) != 1:
            raise InputError(f"run must be a table with one row, got {len(run)} rows; take one")
        run = run.row(0, named=True)
    key = run if isinstance(run, str) else run.get("run_id")
    found = results.filter(pl.col("run_id") == key) if isinstance(key, str) else results.clear()
    if found.is_empty():
        raise InputError(
            'run must be "best", the run_id of a run that has landed, or a row of results(), got '
            f"{key!r}"
        )
    return found.row(0, named=True)


def _best(results: pl.DataFrame) -> dict[str, Any]:
    """The first seed of the best setting of all widths: not the luckiest seed."""
    settings, runs = best_settings(results), runs_of_best(results)
    if not settings:
        raise FitError("no setting has runs that all ended well, so none is best")
    by = selected_on(results)
    scores = {width: row.score(by)[0] or 0.0 for width, row in settings.items()}
    width = max(scores, key=lambda width: scores[width])
    return runs.filter(pl.col("widening_factor") == width).row(0, named=True)


def trained_module(
    store: Store,
    family: WidthFamily,
    recipe: Recipe,
    row: Mapping[str, Any],
    *,
    keeps: str,
) -> tuple[nn.Module, TrainedWeights]:
    """The network of a run as it ended, in the mode in which it is trained, and its weights.

    Args:
        store: where its weights lie.
        family: its networks.
        recipe: its training options.
        row: of the results, with curves.
        keeps: what the study keeps, for the message.

    Raises:
        InputError: if its weights were not kept, or are damaged.
    """
    key = row["run_id"]
    try:
        found = store.weights.find(key, digest_of(row))
    except BrokenSealError as error:
        raise InputError(
            f"the weights of the run {key} are damaged: {error}; set them aside with `widthwise "
            "verify`, then `widthwise run` trains them again"
        ) from None
    if found is None:
        diverged = row["status"] != "ok"
        remedy = "it diverged" if diverged else f"the study keeps {keeps}"
        raise InputError(
            f"the weights of the run {key} were not kept ({remedy}); "
            + (
                "take another"
                if diverged
                else 'with keep = "all", or with its setting, `widthwise run` trains it again'
            )
        )
    weights, is_same = found
    if not is_same:
        warnings.warn(
            f"the weights of the run {key} come from training it again in other company; what they "
            "score may differ from its results by rounding that grew",
            stacklevel=3,
        )
    (module,) = build_modules(family, row["widening_factor"], [row["seed"]], recipe)
    _load(module, weights, family.name)
    return module, weights


@torch.no_grad()
def _load(module: nn.Module, weights: TrainedWeights, family: str) -> None:
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    kept = {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
    if shapes != kept:
        odd = min(name for name in {**shapes, **kept} if shapes.get(name) != kept.get(name))
        raise InputError(
            f"a network of the family {family!r} must have the tensors that were trained, got "
            f"{odd!r} of shape {shapes.get(odd, 'absent')} for {kept.get(odd, 'absent')}"
        )
    for name, tensor in own.items():
        tensor.copy_(weights.tensors[name])


def resumed(
    module: nn.Module,
    weights: TrainedWeights,
    dataset: Dataset,
    recipe: Recipe,
    sampling: Sampling,
    row: Mapping[str, Any],
) -> Resumed:
    """What going on with a run needs.

    Args:
        module, weights: of :func:`trained_module`.
        dataset, recipe, sampling: of the study.
        row: of the results.
    """
    steps, momentum = row["steps"], row["momentum"]
    (last,) = rate_factors(recipe, steps - 1, 1, steps)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(
        trained.values(),
        lr=row["learning_rate"] * float(last),
        momentum=momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov and momentum > 0,
    )
    for name, velocity in weights.velocities.items():
        optimizer.state[trained[name]]["momentum_buffer"] = velocity.clone()
    feed = BatchFeed(
        network_inputs(module, dataset.train_inputs),
        torch.from_numpy(dataset.train_labels),
        batch_size=row["batch_size"],
        sampling=sampling,
        recipe=recipe,
    )
    return Resumed(module, optimizer, _batches(feed, row["seed"], steps), mean_loss(recipe))


def _batches(feed: BatchFeed, seed: int, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        for inputs, labels in feed.steps([seed], step, _STEPS_AHEAD):
            yield inputs[0].clone(), labels[0].clone()
        step += _STEPS_AHEAD
