"""The parts that a page is put together from: figures, tables, and sections that hold both."""

from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionedFigure:
    """A figure with the name of its files and what it shows, numbers included."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True, kw_only=True)
class SectionTable:
    """A table as it is written: every cell a string.

    Attributes:
        name: its address on the page.
        label: what it holds, for screen readers.
        note: how to read it.
        header: column names.
        rows: each as long as the header.
        text_columns: places of columns that hold words.
    """

    name: str
    label: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """One claim on the page.

    Attributes:
        title: heading.
        question: what was asked, in a sentence or two.
        answers: what came out, the first one first.
        cautions: why to doubt it.
        figure: what it rests on, if a table does not say it better.
        table: the numbers.
        warning: what it means for the rest of the page, if that is bad.
        leads: whether it tells what to do, and stands before all figures.
    """

    title: str
    question: str
    answers: tuple[str, ...]
    cautions: tuple[str, ...]
    figure: CaptionedFigure | None
    table: SectionTable
    warning: str | None = None
    leads: bool = False
