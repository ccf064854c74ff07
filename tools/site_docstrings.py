"""Shows the examples of docstrings as code: an extension of griffe, the site's reader of them."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


def fenced(text: str) -> str:
    """The docstring with each example, up to the next empty line, in a fence."""
    return _EXAMPLE.sub(lambda example: f"```pycon\n{example.group()}\n```", text)


class Examples(griffe.Extension):
    """Without it an example would be Markdown: three quotations in one another."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of what was read."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
