"""When a run is evaluated, and what is measured then."""

# Names of columns, and of curves with "curve_" before them.
EVALUATED = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
VALIDATED = ("validation_loss", "validation_accuracy")


def evaluation_steps(steps: int, evaluations: int) -> list[int]:
    """Steps after which a run is evaluated, beginning with 0; the last is its last.

    >>> evaluation_steps(10, evaluations=4)
    [0, 2, 5, 8, 10]
    """
    count = min(evaluations, steps)
    return [0, *(round(steps * (k + 1) / count) for k in range(count))]
