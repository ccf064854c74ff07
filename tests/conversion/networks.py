"""Networks and ordinary training, for the tests of conversion."""

import torch
from torch import nn
from torch.nn import functional

from widthwise import families

STEPS, BATCH_SIZE, LEARNING_RATE = 100, 5, 0.05
SHAPE = (1, 6, 6)


def network(kind, parameterization, width=2, *, bias=True):
    """In float64, with biases that are not 0."""
    family = {
        "mlp": lambda: families.mlp(
            SHAPE, 3, base_width=8, depth=2, parameterization=parameterization, bias=bias
        ),
        "cnn": lambda: families.cnn(
            SHAPE, 3, base_width=4, depth=2, parameterization=parameterization, bias=bias
        ),
    }[kind]()
    module = family.build(width, seed=0).double()
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3, generator=generator)
    return module


def batches():
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn((STEPS, BATCH_SIZE, *SHAPE), generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (STEPS, BATCH_SIZE), generator=generator)


def trajectory(module, groups, *, momentum=0.0, nesterov=False, steps=STEPS):
    """Outputs before every step and after the last, of plain training by torch.optim.SGD."""
    optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=momentum, nesterov=nesterov)
    inputs, targets = batches()
    outputs = []
    for x, y in zip(inputs[:steps], targets[:steps], strict=True):
        output = module(x)
        outputs.append(output.detach())
        optimizer.zero_grad()
        functional.cross_entropy(output, y).backward()
        optimizer.step()
    return torch.stack([*outputs, module(inputs[0]).detach()])


def difference(a, b):
    return float((a - b).detach().abs().max())


def plain_mlp(width):
    """PyTorch's own initialization, biases included."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(36, width),
        nn.ReLU(),
        nn.Linear(width, 2 * width),
        nn.ReLU(),
        nn.Linear(2 * width, 3),
    )


def plain_cnn(width):
    """With batch norm and a convolution of fixed width; PyTorch's own initialization."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.Conv2d(2, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * 36, 3),
    )
