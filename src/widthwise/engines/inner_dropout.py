"""Functions of PyTorch that draw dropout inside, with a dropout that is given.

Attention and stacked recurrent layers draw from PyTorch's generator in the middle of a kernel; a
replica's masks come from a stream of its own.
"""

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from widthwise.engines.recurrent import LAYERED_RECURRENCE

# (input, probability, training) → the input with some of it at zero, the rest scaled up.
Dropout = Callable[[Tensor, float, bool], Tensor]


def without_inner_dropout(
    dropout: Dropout, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What the function gives with this dropout, or ``NotImplemented`` if it draws none inside."""
    rule = _RULES.get(function)
    return NotImplemented if rule is None else rule(dropout, function, args, kwargs)


def _attention(
    dropout: Dropout, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    probability = kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)
    return NotImplemented if probability == 0.0 else _plain_attention(dropout, *args, **kwargs)


def _plain_attention(
    dropout: Dropout,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As PyTorch's documentation writes it."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = query @ key.transpose(-2, -1) * factor
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = torch.where(attn_mask, scores, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return dropout(scores.softmax(-1), dropout_p, True) @ value


def _multi_head_attention(
    dropout: Dropout, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """PyTorch's own function, with other functions under the names that it calls."""
    given = inspect.signature(function).bind(*args, **kwargs)
    given.apply_defaults()
    if not given.arguments["training"] or given.arguments["dropout_p"] == 0.0:
        return NotImplemented
    names = {
        "dropout": lambda input, p=0.5, training=True: dropout(input, p, training),  # noqa: A006
        "scaled_dot_product_attention": partial(_plain_attention, dropout),
    }
    copy = FunctionType(
        function.__code__, {**function.__globals__, **names}, closure=function.__closure__
    )
    return copy(*given.args, **given.kwargs)


def _recurrence(
    dropout: Dropout, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    run = LAYERED_RECURRENCE[function]
    given = inspect.signature(run).bind(*args, **kwargs).arguments
    if not given["train"] or given["dropout"] == 0.0 or given["num_layers"] == 1:
        return NotImplemented
    return run(*args, **kwargs, drop=dropout)


def _dropout(dropout: Dropout, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    def given(input: Tensor, p: float, train: bool) -> Tensor:  # noqa: A002 - as it is called
        return dropout(input, p, train)

    return given(*args, **kwargs)


_RULES: dict[Any, Callable[..., Any]] = {
    functional.scaled_dot_product_attention: _attention,
    functional.multi_head_attention_forward: _multi_head_attention,
    torch.dropout: _dropout,
    **dict.fromkeys(LAYERED_RECURRENCE, _recurrence),
}
