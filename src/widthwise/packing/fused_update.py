"""SGD whose weight gradient is never stored: the product that computes it adds it to the weights.

The loss's gradient comes multiplied with −ε/B of its replica, and everything behind it is linear,
so each weight gradient arrives as the step to be added. With momentum the velocity kept is −ε v.
"""

from collections.abc import Callable

from torch import Tensor

from widthwise.recipe import Recipe

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
