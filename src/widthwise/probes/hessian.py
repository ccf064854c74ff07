"""The top eigenvalue of a network's loss Hessian, by Lanczos on Hessian-vector products."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from widthwise.errors import FitError, InputError

Loss = Callable[[Tensor, Tensor], Tensor]
FloatArray = NDArray[np.float64]

_BREAKDOWN = 1e-12  # of the spectrum's size: what is left of a vector is rounding


def top_hessian_eigenvalue(
    module: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    loss: Loss,
    *,
    tolerance: float = 1e-4,
    max_iterations: int = 100,
    seed: int = 0,
) -> float:
    """Largest (algebraic) eigenvalue λ of ∂²L/∂θ², L the loss over all of these examples.

    Lanczos with full reorthogonalisation; products by double backward, in the module's own
    precision and mode, sums and vectors in float64. The module is left as it is: copies of its
    parameters and buffers are used, so that batch norm's running statistics do not move; random
    layers draw the same numbers in every product. It keeps one float64 vector of θ's size an
    iteration, and the activations of all examples.

    Source: Lanczos (1950); Golub & Van Loan, Matrix Computations, §10.1. Hessian-vector
    products: Pearlmutter (1994).

    Args:
        module: parameters with ``requires_grad`` are θ.
        inputs: (n, *shape).
        targets: whatever ``loss`` takes beside the outputs.
        loss: (outputs, targets) → scalar.
        tolerance: relative; iterations end when the residual ‖Hv − λv‖, which bounds the error,
            is at most this part of the largest |eigenvalue| seen.
        max_iterations: of Lanczos, one product each.
        seed: of the first vector, and of random layers.

    Raises:
        InputError: if nothing is trained, or a number is out of range.
        FitError: if products are not finite, or max_iterations do not suffice.

    >>> line = nn.Linear(2, 1, bias=False)
    >>> inputs = torch.tensor([[3.0, 0.0], [0.0, 1.0]])  # H = 2/2 · diag(9, 1)
    >>> round(top_hessian_eigenvalue(line, inputs, torch.zeros(2, 1), nn.MSELoss()), 4)
    9.0
    """
    if not 0.0 < tolerance < 1.0:
        raise InputError(f"tolerance must lie in (0, 1), got {tolerance}; the default is 1e-4")
    if max_iterations < 1:
        raise InputError(f"max_iterations must be at least 1, got {max_iterations}; try 100")
    product = _HessianProduct(module, inputs, targets, loss, seed)
    rng = np.random.default_rng(seed)
    return _lanczos(product, rng.standard_normal(product.size), tolerance, max_iterations)


class _HessianProduct:
    """v ↦ Hv on vectors (P,) in float64; one graph of first derivatives serves all products."""

    def __init__(
        self, module: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, seed: int
    ) -> None:
        state = {
            name: parameter.detach().clone().requires_grad_(parameter.requires_grad)
            for name, parameter in module.named_parameters()
        }
        self._parameters = [p for p in state.values() if p.requires_grad]
        if not self._parameters:
            raise InputError("a Hessian needs trained parameters, got a module without any")
        self.size = sum(p.numel() for p in self._parameters)
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        devices = [inputs.device] if inputs.device.type == "cuda" else []
        # Fused attention has no second derivative; written out it has.
        written_out = sdpa_kernel(SDPBackend.MATH)
        with torch.enable_grad(), torch.random.fork_rng(devices=devices), written_out:
            torch.manual_seed(seed)
            outputs = torch.func.functional_call(module, {**state, **buffers}, (inputs,))
            value = loss(outputs, targets)
            self._gradients: Sequence[Tensor] = torch.autograd.grad(
                value, self._parameters, create_graph=True, materialize_grads=True
            )

    def __call__(self, vector: FloatArray) -> FloatArray:
        pieces, first = [], 0
        for parameter in self._parameters:
            part = torch.from_numpy(vector[first : first + parameter.numel()])
            pieces.append(part.view(parameter.shape).to(parameter))
            first += parameter.numel()
        # A gradient without a graph does not depend on θ: its part of H is zero.
        curved = [
            (gradient, piece)
            for gradient, piece in zip(self._gradients, pieces, strict=True)
            if gradient.requires_grad
        ]
        if not curved:
            return np.zeros(self.size)
        rows = torch.autograd.grad(
            [gradient for gradient, _ in curved],
            self._parameters,
            [piece for _, piece in curved],
            retain_graph=True,
            materialize_grads=True,
        )
        flat = torch.cat([row.detach().reshape(-1).double().cpu() for row in rows])
        return np.asarray(flat.numpy(), dtype=np.float64)


def _lanczos(
    product: Callable[[FloatArray], FloatArray],
    start: FloatArray,
    tolerance: float,
    max_iterations: int,
) -> float:
    basis = [start / np.linalg.norm(start)]
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    largest = 0.0
    for _ in range(min(max_iterations, start.size)):
        vector = product(basis[-1])
        if not np.all(np.isfinite(vector)):
            raise FitError(
                "the curvature is not finite at initialization; look at the data and the network"
            )
        diagonal.append(float(basis[-1] @ vector))
        # Twice is enough to keep the basis orthogonal to rounding.
        for _ in range(2):
            for known in basis:
                vector = vector - (known @ vector) * known
        beta = float(np.linalg.norm(vector))
        tridiagonal = np.diag(diagonal) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1)
        values, vectors = np.linalg.eigh(tridiagonal)
        top, largest = float(values[-1]), float(np.abs(values).max())
        # β times the last component of the eigenvector is the norm of the residual.
        residual = beta * abs(float(vectors[-1, -1]))
        exhausted = beta <= _BREAKDOWN * max(largest, beta, 1e-300) or len(basis) == start.size
        if residual <= tolerance * largest or exhausted:
            return top
        off_diagonal.append(beta)
        basis.append(vector / beta)
    raise FitError(
        f"{max_iterations} Lanczos iterations leave the top eigenvalue {top:.6g} uncertain by "
        f"{residual:.2g}; raise max_iterations or tolerance"
    )
