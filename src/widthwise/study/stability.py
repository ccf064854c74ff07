"""The largest stable learning rate, measured coarsely where a plan needs it to choose ε."""

from widthwise.data import Dataset
from widthwise.families import WidthFamily
from widthwise.recipe import Recipe
from widthwise.stability import max_stable_learning_rate

BATCH_SIZE = 64
# A plan uses a quarter of it: a few seeds and half octaves decide nothing less.
_SEEDS = 3
_HALF_OCTAVE = 2.0**0.5 - 1.0


def stable_learning_rate(
    family: WidthFamily,
    dataset: Dataset,
    widening_factor: float,
    momentum: float,
    *,
    max_replicas: int,
    recipe: Recipe | None = None,
) -> float:
    """The largest ε of a half-octave grid at which three seeds end a short probe (200 steps,
    batches of at most 64) below their initial loss.

    Args:
        max_replicas: most runs to train at once.
        recipe: loss, batch norm's statistics and the rest of training; its schedule does not
            count. None is the default one.

    Raises:
        FitError: if none is stable.
    """
    ghost = (recipe or Recipe()).ghost_batch_size or 1
    return max_stable_learning_rate(
        family,
        dataset,
        widening_factor=widening_factor,
        batch_size=max(ghost, min(BATCH_SIZE, dataset.num_train) // ghost * ghost),
        momentum=momentum,
        seeds=_SEEDS,
        tolerance=_HALF_OCTAVE,
        recipe=recipe,
        max_replicas=max(1, max_replicas),
        curvature=False,
        device="cpu",
    ).value
