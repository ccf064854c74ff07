"""In which type a network computes, and its inputs in that type."""

import numpy as np
import pytest
import torch
from torch import nn

from widthwise.training.networks import computing_dtype, network_inputs

INPUTS = np.arange(6, dtype=np.float32).reshape(2, 3)


class Counting(nn.Module):
    """Its first parameter counts; those after it compute."""

    def __init__(self):
        super().__init__()
        self.count = nn.Parameter(torch.zeros(1, dtype=torch.int64), requires_grad=False)
        self.layer = nn.Linear(3, 2).double()


@pytest.mark.parametrize(
    ("module", "dtype"),
    [
        (nn.Linear(3, 2), torch.float32),
        (nn.Linear(3, 2).double(), torch.float64),
        (nn.Flatten(), torch.float32),
        (Counting(), torch.float64),
    ],
)
def test_inputs_come_in_the_networks_type(module, dtype):
    assert computing_dtype(module) == dtype
    inputs = network_inputs(module, INPUTS)
    assert inputs.dtype == dtype
    assert inputs.device.type == "cpu"
    assert inputs.tolist() == INPUTS.tolist()


def test_memory_is_shared_in_float32():
    inputs = network_inputs(nn.Linear(3, 2), INPUTS)
    assert inputs.data_ptr() == INPUTS.ctypes.data
