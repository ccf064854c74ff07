"""Dropout inside attention and between recurrent layers has a stream of its own a replica."""

import copy

import pytest
import torch
from engines.training_alone import batches, largest_error, seeded, train_alone, train_packed
from torch import nn
from torch.nn import functional

from widthwise.errors import InputError

RATES, MOMENTA = [0.05, 0.02], [0.9, 0.0]
STEPS, FEATURES = 5, 4


class Encoder(nn.Module):
    """PyTorch's transformer as it comes, dropout and all."""

    def __init__(self, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.3)
        self.enter, self.readout = nn.Linear(FEATURES, 8), nn.Linear(8, 3)
        self.layers, self.options = nn.TransformerEncoder(layer, 2), options

    def forward(self, x):
        return self.readout(self.layers(self.enter(x), **self.options).mean(1))


class Attends(nn.Module):
    """Attention called in different ways."""

    def __init__(self, call):
        super().__init__()
        self.enter, self.readout, self.call = nn.Linear(FEATURES, 8), nn.Linear(8, 3), call
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True)

    def forward(self, x):
        return self.readout(self.call(self, torch.tanh(self.enter(x))).mean(1))


def heads(x):
    return x.unflatten(-1, (2, 4)).transpose(1, 2)


def merged(x):
    return x.transpose(1, 2).flatten(2)


def by_function(**options):
    def call(self, x):
        p = 0.3 if self.training else 0.0
        q = heads(x)
        k = q[:, :1] if options.get("enable_gqa") else q
        found = functional.scaled_dot_product_attention(q, k, k, dropout_p=p, **options)
        return merged(found)

    return call


CAUSAL = nn.Transformer.generate_square_subsequent_mask(STEPS, dtype=torch.float64)
NETWORKS = {
    "encoder": Encoder,
    "encoder with a mask": lambda: Encoder(mask=CAUSAL, is_causal=True),
    "weights wanted": lambda: Attends(lambda self, x: self.attention(x, x, x)[0]),
    "function": lambda: Attends(by_function()),
    "causal": lambda: Attends(by_function(is_causal=True)),
    "boolean mask, scale": lambda: Attends(by_function(attn_mask=CAUSAL == 0, scale=0.7)),
    "added mask": lambda: Attends(by_function(attn_mask=CAUSAL)),
    "heads that share": lambda: Attends(by_function(enable_gqa=True)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_in_attention_equals_attention_with_the_same_masks(name):
    inputs, targets = batches(4, 2, (STEPS, FEATURES))
    error, packed = largest_error(seeded(NETWORKS[name]), RATES, MOMENTA, inputs, targets)
    assert (packed.engine, error < 1e-10) == ("vmap", True)


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.layers = kind(FEATURES, 6, 3, batch_first=True, dropout=0.4)
        self.readout = nn.Linear(6, 3)

    def forward(self, x):
        return self.readout(self.layers(x)[0][:, -1])


class LayerByLayer(nn.Module):
    """The same, each layer by itself and dropout between them."""

    def __init__(self, whole):
        super().__init__()
        kind = type(whole.layers)
        self.layers = nn.ModuleList(kind(n, 6) for n in (FEATURES, 6, 6))
        self.readout = copy.deepcopy(whole.readout)
        self.double()
        with torch.no_grad():
            for name, parameter in whole.layers.named_parameters():
                self.own(name).copy_(parameter)

    def own(self, name):
        kind, _, number = name.rpartition("_l")
        return self.layers[int(number)].get_parameter(f"{kind}_l0")

    def forward(self, x):
        x = x.transpose(0, 1)  # as the kernels lay it out
        for number, layer in enumerate(self.layers):
            x = layer(functional.dropout(x, 0.4, self.training) if number else x)[0]
        return self.readout(x[-1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_dropout_between_recurrent_layers_equals_layers_with_the_same_masks(kind):
    inputs, targets = batches(4, 2, (STEPS, FEATURES))
    make = seeded(lambda: Recurrent(kind))
    modules, packed, losses = train_packed(make, RATES, MOMENTA, inputs, targets)
    for i, module in enumerate(modules):
        alone = LayerByLayer(module)
        own = train_alone(alone, RATES[i], MOMENTA[i], inputs[:, i], targets[:, i], seed=10 + i)
        assert torch.allclose(losses[:, i], own, rtol=1e-12)
        for name, parameter in packed.parameters(i).items():
            if name.startswith("layers."):
                theirs = alone.own(name.removeprefix("layers."))
                assert torch.allclose(parameter, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("inside", [False, True])
def test_dropout_that_does_not_stop_in_evaluation_is_refused(inside):
    def always(self, x):
        q = heads(x)
        if not inside:
            return functional.dropout(x, 0.3)
        return merged(functional.scaled_dot_product_attention(q, q, q, dropout_p=0.3))

    inputs, targets = batches(1, 2, (STEPS, FEATURES))
    with pytest.raises(InputError, match="dropout in evaluation mode too"):
        train_packed(seeded(lambda: Attends(always)), RATES, MOMENTA, inputs, targets)
