"""Arguments that several commands read alike."""

from widthwise.errors import InputError


def widening_factors(text: str) -> list[float]:
    """The positive numbers of "1,2,4", ascending.

    Raises:
        InputError: if they are not.

    >>> widening_factors("4, 1,2")
    [1.0, 2.0, 4.0]
    """
    try:
        factors = sorted({float(word) for word in text.replace(",", " ").split()})
    except ValueError:
        factors = []
    if not factors or not all(0.0 < factor < float("inf") for factor in factors):
        raise InputError(
            f"widths must be positive widening factors, as in 1,2,4, got {text!r}",
            fields=("widths",),
        )
    return factors
