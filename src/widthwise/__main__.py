"""``python -m widthwise`` is the ``widthwise`` command."""

from widthwise.cli import main

main()
