"""What a run is said to cost, against operations counted by hand."""

import pytest
import torch
from torch import nn

from widthwise.study.cost import (
    ALONE_OVERHEAD,
    ALONE_OVERHEAD_A_PARAMETER,
    STEP_OVERHEAD,
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
