"""``python -m widthwise`` is the ``widthwise`` command."""

import os
import sys

# As for the `widthwise` command: files in the working directory are not taken for modules that
# Widthwise imports. Families there are found all the same.
if sys.path and sys.path[0] == os.getcwd():  # noqa: PTH109 - pathlib would be sought there
    del sys.path[0]

from widthwise.cli import main

main()
