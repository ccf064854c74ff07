"""Recurrent layers of PyTorch written out in plain operations, which ``torch.func.vmap`` can run.

PyTorch's own are single kernels, for which ``vmap`` has no rule.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Not part of the public API, but what nn.LSTM and the others call.
_kernels: Any = torch._VF

# What came in through the input's weights (B, gates · hidden), what through those of the state,
# and the state → the next state.
_Cell = Callable[[Tensor, Tensor, Sequence[Tensor]], Sequence[Tensor]]


def _lstm_cell(from_input: Tensor, from_state: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
    enter, forget, content, leave = (from_input + from_state).chunk(4, -1)
    memory = forget.sigmoid() * state[1] + enter.sigmoid() * content.tanh()
    return [leave.sigmoid() * memory.tanh(), memory]


def _gru_cell(from_input: Tensor, from_state: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
    reset, update, new = from_input.chunk(3, -1)
    own_reset, own_update, own_new = from_state.chunk(3, -1)
    candidate = (new + (reset + own_reset).sigmoid() * own_new).tanh()
    share = (update + own_update).sigmoid()
    return [candidate + share * (state[0] - candidate)]


def _elman_cell(activation: Callable[[Tensor], Tensor]) -> _Cell:
    return lambda from_input, from_state, state: [activation(from_input + from_state)]


def _layers(cell: _Cell, has_memory: bool) -> Callable[..., tuple[Tensor, ...]]:
    def run(
        input: Tensor,  # noqa: A002 - as PyTorch's kernels are called
        start: Any,
        weights: Any,
        has_biases: Any,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool = False,
        *,
        drop: Callable[[Tensor, float, bool], Tensor] = functional.dropout,
    ) -> tuple[Tensor, ...]:
        """The kernel's outputs (T, B, features), or (B, T, features), and its last states.

        Args:
            drop: applied between layers.
        """
        if not isinstance(num_layers, int) or isinstance(num_layers, bool):
            raise NotImplementedError("packed sequences")
        states = list(start) if has_memory else [start]
        directions = 2 if bidirectional else 1
        size = len(weights) // (num_layers * directions)
        x = input.transpose(0, 1) if batch_first else input
        last = []
        for layer in range(num_layers):
            found = []
            for direction in range(directions):
                i = layer * directions + direction
                own = weights[i * size : (i + 1) * size]
                first = [state[i] for state in states]
                outputs, end = _through_time(cell, x, first, own, has_biases, direction == 1)
                found.append(outputs)
                last.append(end)
            x = torch.cat(found, -1)
            if layer < num_layers - 1:
                x = drop(x, dropout, train)
        outputs = x.transpose(0, 1) if batch_first else x
        return outputs, *(torch.stack(ends) for ends in zip(*last, strict=True))

    return run


def _through_time(
    cell: _Cell,
    x: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
    has_biases: bool,
    backwards: bool,
) -> tuple[Tensor, Sequence[Tensor]]:
    """One layer in one direction over (T, B, features)."""
    of_input, of_state, *others = weights
    biases = others[:2] if has_biases else [None, None]
    projection = others[2 if has_biases else 0 :]
    entering = functional.linear(x, of_input, biases[0]).unbind(0)
    outputs = []
    for from_input in reversed(entering) if backwards else entering:
        state = cell(from_input, functional.linear(state[0], of_state, biases[1]), state)
        if projection:
            state = [functional.linear(state[0], projection[0]), *state[1:]]
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs), state


def _once(cell: _Cell, has_memory: bool) -> Callable[..., Any]:
    def run(
        input: Tensor,  # noqa: A002 - as PyTorch's kernels are called
        start: Any,
        of_input: Tensor,
        of_state: Tensor,
        bias_of_input: Tensor | None = None,
        bias_of_state: Tensor | None = None,
    ) -> Any:
        state = start if has_memory else [start]
        from_state = functional.linear(state[0], of_state, bias_of_state)
        after = cell(functional.linear(input, of_input, bias_of_input), from_state, state)
        return tuple(after) if has_memory else after[0]

    return run


_elman_tanh, _elman_relu = _elman_cell(torch.tanh), _elman_cell(torch.relu)

# PyTorch's kernel → the same in plain operations: layers over a sequence, and single steps.
LAYERED_RECURRENCE: dict[Any, Callable[..., Any]] = {
    _kernels.lstm: _layers(_lstm_cell, has_memory=True),
    _kernels.gru: _layers(_gru_cell, has_memory=False),
    _kernels.rnn_tanh: _layers(_elman_tanh, has_memory=False),
    _kernels.rnn_relu: _layers(_elman_relu, has_memory=False),
}
PLAIN_RECURRENCE: dict[Any, Callable[..., Any]] = {
    **LAYERED_RECURRENCE,
    _kernels.lstm_cell: _once(_lstm_cell, has_memory=True),
    _kernels.gru_cell: _once(_gru_cell, has_memory=False),
    _kernels.rnn_tanh_cell: _once(_elman_tanh, has_memory=False),
    _kernels.rnn_relu_cell: _once(_elman_relu, has_memory=False),
}
