"""Recurrent layers and transformers of PyTorch itself, with a readout."""

import torch
from torch import Tensor, nn

from validation.published.base import CLASSES, SERIES, Architecture, Averaged, series

FEATURES = SERIES[1]


class CellByCell(nn.Module):
    """A cell of PyTorch called step by step, with a readout of its last state."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.readout = cell, nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for t in range(SERIES[0]):
            state = self.cell(x[:, t], state)
        return self.readout(state[0] if isinstance(state, tuple) else state)


class Seq2Seq(nn.Module):
    """nn.Transformer from a series to one learned query."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True)
        self.enter, self.readout = nn.Linear(FEATURES, 8), nn.Linear(8, CLASSES)
        self.query = nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        found = self.model(self.enter(x), self.query.expand(len(x), -1, -1))
        return self.readout(found[:, 0])


def encoder(dropout: float) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
    return Averaged(nn.Sequential(nn.Linear(FEATURES, 8), nn.TransformerEncoder(layer, 2)), 8)


ARCHITECTURES = {
    "LSTM (PyTorch)": Architecture(
        "recurrent", lambda: Averaged(nn.LSTM(FEATURES, 6, batch_first=True), 6), series
    ),
    "two-layer LSTM in both directions (PyTorch)": Architecture(
        "recurrent",
        lambda: Averaged(nn.LSTM(FEATURES, 6, 2, batch_first=True, bidirectional=True), 12),
        series,
    ),
    "GRU (PyTorch)": Architecture(
        "recurrent", lambda: Averaged(nn.GRU(FEATURES, 6, batch_first=True), 6), series
    ),
    "Elman network (PyTorch)": Architecture(
        "recurrent", lambda: Averaged(nn.RNN(FEATURES, 6, batch_first=True), 6), series
    ),
    "LSTM cell by cell (PyTorch)": Architecture(
        "recurrent", lambda: CellByCell(nn.LSTMCell(FEATURES, 6)), series
    ),
    "GRU cell by cell (PyTorch)": Architecture(
        "recurrent", lambda: CellByCell(nn.GRUCell(FEATURES, 6)), series
    ),
    "transformer encoder (PyTorch)": Architecture("transformer", lambda: encoder(0.0), series),
    "transformer encoder with dropout (PyTorch)": Architecture(
        "transformer", lambda: encoder(0.1), series
    ),
    "encoder and decoder (PyTorch)": Architecture("transformer", Seq2Seq, series),
}
