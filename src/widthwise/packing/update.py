"""One SGD update of stacked parameters, with every replica's own ε and m."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


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
