"""What a run is said to cost, against operations counted by hand."""

import pytest
import torch
from torch import nn

from widthwise.study.cost import STEP_OVERHEAD, module_cost


def test_a_run_costs_its_products_its_share_of_a_step_and_its_evaluations():
    module = nn.Sequential(nn.Linear(10, 20, bias=False), nn.ReLU(), nn.Linear(20, 3, bias=False))
    cost = module_cost(module, torch.randn(4, 10), torch.tensor([0, 1, 2, 0]))
    forward = 2 * (10 * 20 + 20 * 3)
    # Gradients of both weights, and of the hidden layer; the inputs need none.
    training = 2 * forward + 2 * 20 * 3
    assert cost.forward_flops == forward
    assert cost.training_flops == training
    alone = cost.run_cost(100, 8, replicas=1, evaluated=0)
    assert alone == pytest.approx(100 * (8 * training + STEP_OVERHEAD))
    eight = cost.run_cost(100, 8, replicas=8, evaluated=5000)
    assert eight == pytest.approx(100 * (8 * training + STEP_OVERHEAD / 8) + 5000 * forward)
