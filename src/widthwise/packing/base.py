"""What training needs of a pack, whatever engine is behind it."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Pack(Protocol):
    """R replicas of one architecture, trained together by SGD with heavy-ball momentum.

    Update: v ← m v + ∇L; θ ← θ − ε v, with L the batch's mean cross-entropy, and ε and m per
    replica (``torch.optim.SGD`` without dampening).

    Attributes:
        engine: "chain" (written-out backward pass, fused update) or "vmap" (torch.func).
        reason: why this engine was taken.
        num_replicas: R; falls when replicas are dropped.
    """

    engine: str
    reason: str

    @property
    def num_replicas(self) -> int: ...

    def step(self, inputs: Tensor, targets: Tensor, losses: Tensor) -> None:
        """One update of every replica.

        Args:
            inputs: (R, B, *example_shape).
            targets: (R, B) class indices.
            losses: (R,), receives each replica's mean loss before the update.
        """
        ...

    def logits(self, inputs: Tensor) -> Tensor:
        """Every replica's logits on the same examples: (n, *example_shape) → (R, n, classes)."""
        ...

    def keep(self, replicas: Sequence[int]) -> None:
        """Drop all replicas but these from the arithmetic; the others are renumbered."""
        ...

    def parameters(self, replica: int) -> dict[str, Tensor]:
        """Copies of one replica's parameters under the module's own names."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything that :meth:`restore` needs to go on bit for bit."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None: ...
