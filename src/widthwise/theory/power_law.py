"""What every fit of a power law over widths needs: does the line fit, and if not, how much wider
are its intervals?
"""

# Lack of fit counts when so large a chi-square has less than this chance under the power law.
LACK_OF_FIT = 0.05


def stretch_for_scatter(chi_square: float, degrees: int) -> tuple[float, float | None]:
    """Factor by which intervals must widen for the scatter of the widths about the line.

    Scatter that the intervals explain leaves them as they are. More of it widens them by
    √(χ²/degrees), and from the normal to Student's distribution at 95 %, because the size of the
    scatter is then itself estimated.

    Args:
        chi_square: sum of squared residuals, each in units of its own standard deviation.
        degrees: widths less the two numbers of the line; below 1 nothing can be judged.

    Returns:
        The factor, at least 1, and the chance of so large a chi-square under the power law; None
        where it cannot be judged.

    >>> stretch_for_scatter(1.0, 2)
    (1.0, 0.606...)
    >>> stretch_for_scatter(32.0, 2)[0] > 4.0, stretch_for_scatter(0.0, 0)
    (True, (1.0, None))
    """
    if degrees < 1:
        return 1.0, None
    from scipy import special  # SciPy is slow to import

    chance = float(special.chdtrc(degrees, chi_square))
    if chance >= LACK_OF_FIT:
        return 1.0, chance
    student = float(special.stdtrit(degrees, 0.975) / special.ndtri(0.975))
    return student * float((chi_square / degrees) ** 0.5), chance
