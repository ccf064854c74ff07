"""What a run is said to cost, against operations counted by hand."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from widthwise.study.cost import (
    ALONE_OVERHEAD,
    ALONE_OVERHEAD_A_PARAMETER,
    STEP_OVERHEAD,
    Operations,
    module_cost,
)


def test_a_run_costs_its_products_its_share_of_a_step_and_its_evaluations():
    module = nn.Sequential(nn.Linear(10, 20, bias=False), nn.ReLU(), nn.Linear(20, 3, bias=False))
    cost = module_cost(module, torch.randn(4, 10), torch.tensor([0, 1, 2, 0]))
    forward = 2 * (10 * 20 + 20 * 3)
    # Gradients of both weights, and of the hidden layer; the inputs need none.
    training = 2 * forward + 2 * 20 * 3
    assert cost.forward_flops == forward
    assert cost.training_flops == training
    weights = 10 * 20 + 20 * 3
    beside = ALONE_OVERHEAD + ALONE_OVERHEAD_A_PARAMETER * weights
    for replicas in (1, 8):  # a chain's runs share nothing
        one = cost.run_cost(100, 8, replicas=replicas, evaluated=5000)
        assert one == pytest.approx(100 * (8 * training + beside) + 5000 * forward)


def test_runs_that_share_a_step_share_its_overhead():
    module = nn.Sequential(nn.Linear(10, 20), nn.LayerNorm(20), nn.Linear(20, 3))
    cost = module_cost(module, torch.randn(4, 10), torch.tensor([0, 1, 2, 0]))
    products = 100 * 8 * cost.training_flops
    for replicas in (1, 8):
        one = cost.run_cost(100, 8, replicas=replicas, evaluated=0)
        assert one == pytest.approx(products + 100 * STEP_OVERHEAD / replicas)


NETWORKS = {
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(108, 5), nn.Linear(5, 3)),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, groups=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)
    ),
    "attention": lambda: nn.Sequential(
        nn.Flatten(2), nn.TransformerEncoderLayer(36, 2, 8, batch_first=True), nn.Flatten(),
        nn.Linear(108, 3),
    ),
    "recurrent": lambda: LastOutput(),
}  # fmt: skip


class LastOutput(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.readout = nn.LSTM(36, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.readout(self.layer(x.flatten(2))[0][:, -1])


@pytest.mark.parametrize("name", NETWORKS)
def test_operations_are_counted_as_pytorch_counts_them(name):
    module, ours, counts = NETWORKS[name](), Operations(), []
    for counter in (FlopCounterMode(display=False), ours):
        with counter:
            module(torch.ones(2, 3, 6, 6)).sum().backward()
        counts.append(counter.total if counter is ours else counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.slow
def test_counting_does_not_import_a_compiler():
    """TorchDynamo takes seconds to import."""
    code = (
        "import sys, torch; from torch import nn; from widthwise.study.cost import module_cost; "
        "module_cost(nn.Linear(3, 2), torch.ones(2, 3), torch.zeros(2, dtype=torch.int64)); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
