"""One SGD update of stacked parameters, with every replica's own ε and m."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.sgd.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Update:
    """g ← ∇L + λθ; v ← m v + g; θ ← θ − ε (g + m v if Nesterov, else v): ``torch.optim.SGD``.

    Attributes:
        learning_rates, momenta: (R,).
        weight_decay: λ.
        nesterov: whether the step looks ahead.
    """

    learning_rates: Tensor
    momenta: Tensor
    weight_decay: float
    nesterov: bool

    @torch.no_grad()
    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor | None],
        velocities: Mapping[str, Tensor],
        rate_factor: float | Tensor,
    ) -> None:
        """Change parameters (R, …) and velocities in place.

        Args:
            parameters: what is trained.
            gradients: of every parameter; None (it took no part) leaves it as it is. Not changed:
                autograd may hand out one tensor twice.
            velocities: of every parameter, or empty if no replica has momentum.
            rate_factor: multiplies every learning rate.
        """
        rates = self.learning_rates * rate_factor
        for name, gradient in gradients.items():
            if gradient is None:
                continue
            parameter = parameters[name]
            if self.weight_decay:
                gradient = gradient.add(parameter, alpha=self.weight_decay)
            if velocities:
                velocity = velocities[name]
                momenta = _column(self.momenta, velocity)
                velocity.mul_(momenta).add_(gradient)
                gradient = gradient.addcmul(velocity, momenta) if self.nesterov else velocity
            parameter.addcmul_(gradient, _column(rates, gradient), value=-1.0)


def _column(per_replica: Tensor, like: Tensor) -> Tensor:
    return per_replica.view(-1, *[1] * (like.ndim - 1))


# (target, beta): target ← beta · target + the weight gradient times −ε.
AddGradient = Callable[[Tensor, float], object]


class FusedUpdate:
    """``torch.optim.SGD`` for R replicas with their own ε and m.

    Args:
        learning_rates, momenta: (R, 1, 1).
        recipe: weight decay and Nesterov momentum.
    """

    def __init__(self, learning_rates: Tensor, momenta: Tensor, recipe: Recipe) -> None:
        self.learning_rates, self.momenta = learning_rates, momenta
        self.nesterov = recipe.nesterov
        self.decay = recipe.weight_decay * learning_rates if recipe.weight_decay else None
        self.has_momentum = bool((momenta != 0).any())
        distinct = {float(m) for m in momenta.view(-1)}
        self.common_momentum = distinct.pop() if len(distinct) == 1 else None
        self._scales: dict[int, Tensor] = {}

    def scale(self, batch_size: int, rate_factor: float | Tensor) -> Tensor:
        """What the gradient of the summed loss is multiplied with, (R, 1, 1)."""
        if batch_size not in self._scales:
            self._scales[batch_size] = self.learning_rates / -batch_size
        scale = self._scales[batch_size]
        if self.has_momentum or (isinstance(rate_factor, float) and rate_factor == 1.0):
            return scale  # the velocity does not know the schedule
        return scale * rate_factor

    def __call__(
        self,
        tensor: Tensor,
        velocity: Tensor | None,
        add_gradient: AddGradient,
        rate_factor: float | Tensor,
    ) -> None:
        """Update one stacked parameter (R, …) and its velocity in place."""
        if velocity is None:
            if self.decay is not None:
                tensor.mul_(1.0 - self.decay * rate_factor)
            add_gradient(tensor, 1.0)
            return
        before = velocity.clone() if self.nesterov else None
        beta = self.common_momentum
        if beta is None or self.decay is not None:
            velocity.mul_(self.momenta)
            beta = 1.0
        if self.decay is not None:
            velocity.addcmul_(tensor, self.decay, value=-1.0)
        add_gradient(velocity, beta)
        if before is None:
            _add(tensor, velocity, rate_factor)
        else:
            # −ε (g + m v) = (1 + m)(−ε v) − m (−ε v of before)
            ahead = velocity + self.momenta * (velocity - before)
            _add(tensor, ahead, rate_factor)


def _add(tensor: Tensor, step: Tensor, rate_factor: float | Tensor) -> None:
    if isinstance(rate_factor, Tensor):
        tensor.addcmul_(step, rate_factor)
    else:
        tensor.add_(step, alpha=rate_factor)
