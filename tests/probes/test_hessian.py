"""The top Hessian eigenvalue: hand-worked, and against curvlinops."""

import copy
import warnings

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from widthwise.errors import FitError, InputError
from widthwise.probes import top_hessian_eigenvalue

RTOL = 1e-3


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), (6,)


def cnn():
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)]
    return nn.Sequential(*layers), (1, 8, 8)


def cnn_with_batch_norm():
    norm = nn.BatchNorm2d(4)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    head = [nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)]
    return nn.Sequential(nn.Conv2d(1, 4, 3), norm, *head).eval(), (1, 8, 8)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.project, self.readout = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x):
        query, key, value = self.project(x).chunk(3, dim=-1)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.readout(attended.mean(1))


NETWORKS = {"mlp": mlp, "cnn": cnn, "batch norm in eval mode": cnn_with_batch_norm}
LOSSES = {"cross-entropy": nn.CrossEntropyLoss(), "mean squared error": nn.MSELoss()}


def problem(name, loss):
    torch.manual_seed(3)
    module, shape = NETWORKS[name]()
    inputs, labels = torch.randn(40, *shape), torch.randint(3, (40,))
    targets = labels if loss == "cross-entropy" else torch.eye(3)[labels]
    return module, inputs, targets


def by_curvlinops(module, inputs, targets, loss):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from curvlinops import HessianLinearOperator

        trained = [p for p in module.parameters() if p.requires_grad]
        operator = HessianLinearOperator(module, loss, trained, [(inputs, targets)])
        return float(eigsh(operator.to_scipy(dtype=np.float64), k=1, which="LA", tol=1e-6)[0][0])


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NETWORKS)
def test_it_agrees_with_curvlinops(name, loss):
    module, inputs, targets = problem(name, loss)
    expected = by_curvlinops(module, inputs, targets, LOSSES[loss])
    found = top_hessian_eigenvalue(module, inputs, targets, LOSSES[loss])
    assert found == pytest.approx(expected, rel=RTOL)


def test_the_comparison_sees_another_mode_of_batch_norm():
    module, inputs, targets = problem("batch norm in eval mode", "cross-entropy")
    evaluating = top_hessian_eigenvalue(module, inputs, targets, LOSSES["cross-entropy"])
    training = top_hessian_eigenvalue(module.train(), inputs, targets, LOSSES["cross-entropy"])
    assert training != pytest.approx(evaluating, rel=10 * RTOL)


# Mean over 2 examples and 1 output of (w·x)², x = (3, 0) and (0, 1): H = 2/2 · diag(9, 1).
@pytest.mark.parametrize(
    ("trained", "expected"), [((True, True), 9.0), ((True, False), 9.0), ((False, True), 1.0)]
)
def test_frozen_parameters_do_not_count(trained, expected):
    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Parameter(torch.tensor(0.3), requires_grad=trained[0])
            self.second = nn.Parameter(torch.tensor(-0.4), requires_grad=trained[1])

        def forward(self, x):
            return x[:, :1] * self.first + x[:, 1:] * self.second

    inputs = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    found = top_hessian_eigenvalue(Line(), inputs, torch.zeros(2, 1), nn.MSELoss())
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_largest_is_algebraic():
    """L = −3·a² + b² / 2: eigenvalues −6 and 1; the larger in size is negative."""

    class Saddle(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([0.5, 0.5]))

        def forward(self, x):
            return -3.0 * self.weight[0] ** 2 + 0.5 * self.weight[1] ** 2 + 0.0 * x.sum()

    found = top_hessian_eigenvalue(Saddle(), torch.ones(1), torch.ones(1), lambda out, _: out)
    assert found == pytest.approx(1.0, rel=1e-6)


def test_the_module_is_left_as_it_was():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3)
    )
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    inputs, targets = torch.randn(20, 6), torch.randint(3, (20,))
    state = torch.get_rng_state()
    first = top_hessian_eigenvalue(module, inputs, targets, nn.CrossEntropyLoss())
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training
    assert all(p.grad is None for p in module.parameters())
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    # Random layers draw the same numbers again.
    assert top_hessian_eigenvalue(module, inputs, targets, nn.CrossEntropyLoss()) == first


@pytest.mark.slow
def test_attention_is_differentiated_twice():
    """Against a Hessian from finite differences of the gradient."""
    torch.manual_seed(1)
    module, inputs = Attention().double(), torch.randn(10, 5, 4, dtype=torch.float64)
    labels = torch.randint(3, (10,))
    sizes = [p.numel() for p in module.parameters()]

    def loss_at(flat):
        named = zip(dict(module.named_parameters()), flat.split(sizes), strict=True)
        shaped = {n: v.view(module.get_parameter(n).shape) for n, v in named}
        return nn.functional.cross_entropy(
            torch.func.functional_call(module, shaped, (inputs,)), labels
        )

    start = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
    gradient, step = torch.func.grad(loss_at), 1e-5
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        columns = [
            (gradient(start + step * e) - gradient(start - step * e)) / (2 * step)
            for e in torch.eye(len(start), dtype=torch.float64)
        ]
    expected = float(torch.linalg.eigvalsh(torch.stack(columns))[-1])
    found = top_hessian_eigenvalue(module, inputs, labels, nn.CrossEntropyLoss())
    assert found == pytest.approx(expected, rel=RTOL)


def test_a_linear_loss_has_no_curvature():
    found = top_hessian_eigenvalue(
        nn.Linear(2, 1), torch.ones(3, 2), torch.ones(3), lambda out, _: out.sum()
    )
    assert found == 0.0


def test_too_few_iterations_are_an_error():
    module, inputs, targets = problem("mlp", "cross-entropy")
    with pytest.raises(FitError, match=r"2 Lanczos iterations leave .* raise max_iterations"):
        top_hessian_eigenvalue(module, inputs, targets, nn.CrossEntropyLoss(), max_iterations=2)


def test_infinite_curvature_is_an_error():
    with pytest.raises(FitError, match="not finite at initialization"):
        top_hessian_eigenvalue(
            nn.Linear(2, 1), torch.full((3, 2), 1e30), torch.ones(3, 1), nn.MSELoss()
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"tolerance": 0.0}, "tolerance must lie in"), ({"max_iterations": 0}, "max_iterations must")],
)
def test_bad_numbers_are_refused(changes, message):
    module, inputs, targets = problem("mlp", "cross-entropy")
    with pytest.raises(InputError, match=message):
        top_hessian_eigenvalue(module, inputs, targets, nn.CrossEntropyLoss(), **changes)


def test_nothing_trained_is_refused():
    with pytest.raises(InputError, match="trained parameters"):
        top_hessian_eigenvalue(nn.Flatten(), torch.ones(1, 2), torch.ones(1, 2), nn.MSELoss())
