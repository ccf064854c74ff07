"""Layers with more inputs than are read at a time, and batches of more rows than one tile."""

import pytest
import torch
from engines.training_alone import dense_engine
from torch import nn

from widthwise.engines import pack

pytestmark = pytest.mark.skipif(
    dense_engine() != "compiled", reason="the compiled library is not built"
)
# One range of inputs, one and a bit, several; with 1, 2, 4 and 5 panels of outputs.
INPUTS = [100, 113, 225, 784]
OUTPUTS = [6, 20, 50, 70]


def network(inputs, outputs):
    torch.manual_seed(inputs + outputs)
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, 3)).double()


def data(inputs, rows=90):
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(rows, inputs, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (rows,), generator=generator)


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_logits(inputs, outputs):
    module, (x, _) = network(inputs, outputs), data(inputs)
    packed = pack([module], [0.1], [0.0], engine="compiled")
    for rows in (1, 16, 17, 48, 90):
        expected = module(x[:rows]).detach()
        torch.testing.assert_close(packed.logits(x[:rows])[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [16, 17, 33, 64])
@pytest.mark.parametrize("inputs", INPUTS)
def test_steps(inputs, batch):
    module, (x, y) = network(inputs, 50), data(inputs)
    packed = pack([module], [0.05], [0.9], engine="compiled")
    generator = torch.Generator().manual_seed(3)
    indices = torch.randint(len(y), (1, 30, batch), generator=generator)
    losses = torch.empty(30, 1, dtype=torch.float64)
    packed.train_steps(
        x, y, indices, losses, first_number=0, rate_factors=torch.ones(30, dtype=torch.float64)
    )
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for step in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x[indices[0, step]]), y[indices[0, step]])
        loss.backward()
        optimizer.step()
        assert float(losses[step, 0]) == pytest.approx(float(loss.detach()), rel=1e-10)
    for name, parameter in module.named_parameters():
        ours = packed.parameters(0)[name]
        torch.testing.assert_close(ours, parameter.detach(), rtol=0, atol=1e-11)
