"""What training needs of a pack, whatever engine is behind it."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

EngineChoice = Literal["auto", "compiled", "chain", "graph", "vmap"]


class Pack(Protocol):
    """R replicas of one architecture, trained together by SGD.

    Update: ``torch.optim.SGD`` without dampening, on the batch's mean loss, with ε and m per
    replica; weight decay, Nesterov momentum and the loss as the pack's recipe says.

    Attributes:
        engine: "compiled" (dense layers; steps in compiled code, one run at a time), "chain" (dense
            layers; written-out backward pass, fused update), "graph" (layers in packed form;
            autograd) or "vmap" (the module's forward under ``torch.func.vmap``).
        reason: why this engine was taken.
        num_replicas: R; falls when replicas are dropped.
    """

    engine: str
    reason: str

    @property
    def num_replicas(self) -> int: ...

    @property
    def host_work(self) -> str | None:
        """What a step needs of the CPU while it runs, as far as the steps made so far tell; None if
        nothing. Steps with such work cannot be recorded in a CUDA graph."""
        ...

    def step(
        self,
        inputs: Tensor,
        targets: Tensor,
        losses: Tensor,
        *,
        number: int = 0,
        rate_factor: float | Tensor = 1.0,
    ) -> None:
        """One update of every replica.

        Args:
            inputs: (R, B, *example_shape).
            targets: (R, B) class indices.
            losses: (R,), receives each replica's mean loss before the update.
            number: of the update; dropout's masks depend on it and on the replica's seed.
            rate_factor: multiplies every learning rate.
        """
        ...

    def logits(self, inputs: Tensor) -> Tensor:
        """Every replica's logits on the same examples, in evaluation mode:
        (n, *example_shape) → (R, n, classes)."""
        ...

    def keep(self, replicas: Sequence[int]) -> None:
        """Drop all replicas but these from the arithmetic; the others are renumbered."""
        ...

    def parameters(self, replica: int) -> dict[str, Tensor]:
        """Copies of one replica's parameters under the module's own names."""
        ...

    def buffers(self, replica: int) -> dict[str, Tensor]:
        """Copies of one replica's buffers, such as running statistics."""
        ...

    def velocities(self, replica: int) -> dict[str, Tensor]:
        """Copies of one replica's momentum buffers as ``torch.optim.SGD`` has them, under the names
        of the parameters that are trained; empty if its momentum is 0."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything that :meth:`restore` needs to go on bit for bit."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None: ...


@runtime_checkable
class TrainsChunks(Protocol):
    """A pack that also makes many steps in one call, and evaluates a whole data set in one, reading
    examples where they lie.

    Attributes:
        steps_of_block: steps may be taken in blocks, which begin at multiples of this number. Calls
            that end there, or where the weights are evaluated, leave the same bits however many
            they are; a call that ends within a block rounds differently.
    """

    steps_of_block: int

    def train_steps(
        self,
        inputs: Tensor,
        labels: Tensor,
        indices: Tensor,
        losses: Tensor,
        *,
        first_number: int,
        rate_factors: Tensor,
    ) -> None:
        """Consecutive updates of every replica, those of one :meth:`Pack.step` after the other. It
        cannot be interrupted.

        Args:
            inputs: (N, *example_shape), the training set.
            labels: (N,) class indices.
            indices: (R, S, B), the examples of S steps.
            losses: (S, R), receives the mean losses before each update.
            first_number: of the first update; it says where blocks begin.
            rate_factors: (S,), multiply every learning rate.

        Raises:
            InputError: if an index or a label is out of its range.
        """
        ...

    def evaluate(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Every replica on the same examples, in evaluation mode.

        Args:
            inputs: (n, *example_shape).
            labels: (n,) class indices.

        Returns:
            The sums of the examples' losses, without label smoothing, (R,) in float64; and how
            many have their largest logit (the first, of equal ones) at their label, (R,) in int64.

        Raises:
            InputError: if a label is out of its range.
        """
        ...
