"""Makes Markdown of docstrings: an extension of griffe, the site's reader of them."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?([^`]+)`")


def as_markdown(text: str) -> str:
    """The docstring with each example, up to the next empty line, in a fence, and each role
    (:class:`Network`) as code."""
    text = _EXAMPLE.sub(lambda example: f"```pycon\n{example.group()}\n```", text)
    return _ROLE.sub(r"`\1`", text)


class Docstrings(griffe.Extension):
    """Without it an example would be three quotations in one another."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of what was read."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
