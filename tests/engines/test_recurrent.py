"""Recurrent layers of PyTorch train packed as they do alone."""

import pytest
import torch
from engines.training_alone import batches, largest_error, seeded
from torch import nn

RATES, MOMENTA = [0.05, 0.02], [0.9, 0.0]
STEPS, FEATURES, HIDDEN = 5, 4, 6


class Reads(nn.Module):
    """A recurrent layer, and a readout of all that it gives, its last states included."""

    def __init__(self, layer, width, start=None):
        super().__init__()
        self.layer, self.start = layer, start
        self.readout = nn.Linear(width, 3)

    def forward(self, x):
        first = x if self.layer.batch_first else x.transpose(0, 1)
        states = [x.new_full((*self.start, len(x), n), 0.3) for n in self.sizes()]
        start = () if self.start is None else (tuple(states) if len(states) > 1 else states[0],)
        outputs, last = self.layer(first, *start)
        outputs = outputs if self.layer.batch_first else outputs.transpose(0, 1)
        lasts = last if isinstance(last, tuple) else (last,)
        found = [outputs.mean(1), *(state.transpose(0, 1).flatten(1) for state in lasts)]
        return self.readout(torch.cat(found, 1))

    def sizes(self):
        if self.start is None:
            return []
        layer = self.layer
        outputs = getattr(layer, "proj_size", 0) or layer.hidden_size
        return [outputs, layer.hidden_size] if isinstance(layer, nn.LSTM) else [outputs]


class ByCell(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.readout = cell, nn.Linear(HIDDEN, 3)

    def forward(self, x):
        state = None
        for t in range(STEPS):
            state = self.cell(x[:, t], state)
        return self.readout(state[0] if isinstance(state, tuple) else state)


def layer(kind, **options):
    return lambda: kind(FEATURES, HIDDEN, **{"batch_first": True, **options})


NETWORKS = {
    "LSTM": lambda: Reads(layer(nn.LSTM)(), 3 * HIDDEN),
    "LSTM from given states": lambda: Reads(layer(nn.LSTM)(), 3 * HIDDEN, start=(1,)),
    "LSTM without bias, time first": lambda: Reads(
        layer(nn.LSTM, bias=False, batch_first=False)(), 3 * HIDDEN
    ),
    "LSTM, two layers, both directions": lambda: Reads(
        layer(nn.LSTM, num_layers=2, bidirectional=True)(), 2 * HIDDEN + 8 * HIDDEN
    ),
    "LSTM with projection": lambda: Reads(
        layer(nn.LSTM, proj_size=2, num_layers=2)(), 2 + 2 * (2 + HIDDEN), start=(2,)
    ),
    "GRU": lambda: Reads(layer(nn.GRU)(), 2 * HIDDEN),
    "GRU, two layers, both directions, without bias": lambda: Reads(
        layer(nn.GRU, num_layers=2, bidirectional=True, bias=False)(), 2 * HIDDEN + 4 * HIDDEN
    ),
    "Elman network": lambda: Reads(layer(nn.RNN)(), 2 * HIDDEN, start=(1,)),
    "Elman network with rectifiers": lambda: Reads(
        layer(nn.RNN, nonlinearity="relu", num_layers=2)(), 3 * HIDDEN
    ),
    "LSTM cell": lambda: ByCell(nn.LSTMCell(FEATURES, HIDDEN)),
    "GRU cell": lambda: ByCell(nn.GRUCell(FEATURES, HIDDEN, bias=False)),
    "Elman cell": lambda: ByCell(nn.RNNCell(FEATURES, HIDDEN)),
    "Elman cell with rectifiers": lambda: ByCell(nn.RNNCell(FEATURES, HIDDEN, nonlinearity="relu")),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_recurrent_layers_equal_their_own(name):
    inputs, targets = batches(6, 2, (STEPS, FEATURES))
    error, packed = largest_error(seeded(NETWORKS[name]), RATES, MOMENTA, inputs, targets)
    assert (packed.engine, error < 1e-10) == ("vmap", True)
