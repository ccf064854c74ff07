"""Steps of a pack as one CUDA graph: what a step launches is recorded once and replayed.

A step of small networks launches dozens of kernels that each run for microseconds; launching them
one by one costs more than running them. A graph launches them all at once ("Accelerating PyTorch
with CUDA Graphs", PyTorch's blog, 2021). It replays the same kernels on the same memory, so batches
are copied into buffers that stay where they are, and whatever a step decides on the CPU is frozen.

The part that touches CUDA, :class:`CudaRecorder`, has not been run on a CUDA device yet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from widthwise.engines.base import Pack

# Steps before recording, in which libraries choose kernels and allocate; PyTorch advises three.
_WARM_UP_STEPS = 3


class Recorder(Protocol):
    """Records what a function launches."""

    def warm_up(self, run: Callable[[], None]) -> None:
        """Call ``run`` a few times, apart from other work."""
        ...

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        """What repeats the work of ``run`` on the same memory.

        Raises:
            RuntimeError: if ``run`` does something that cannot be repeated without the CPU.
        """
        ...


class CudaRecorder:
    """CUDA graphs; not run on a CUDA device yet.

    Args:
        device: on which all tensors lie.
        shares_memory: whether recordings share the memory of what they need in between, which they
            may if no two are replayed at the same time and none reads what another one made.
    """

    def __init__(self, device: torch.device, *, shares_memory: bool = False) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle() if shares_memory else None

    def warm_up(self, run: Callable[[], None]) -> None:
        with torch.cuda.device(self._device):
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UP_STEPS):
                    run()
            torch.cuda.current_stream().wait_stream(aside)

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), torch.cuda.graph(graph, pool=self._pool):
            run()
        replay: Callable[[], None] = graph.replay
        return replay


@dataclass(frozen=True, eq=False)
class _Recorded:
    """A step on buffers of its own.

    Attributes:
        inputs, targets: (R, B, *shape), (R, B): read by a replay.
        rate_factor: 0-d, read by a replay.
        losses: (R,), written by a replay.
        replay: does the step.
    """

    inputs: Tensor
    targets: Tensor
    rate_factor: Tensor
    losses: Tensor
    replay: Callable[[], None]


class CapturedPack:
    """A pack whose steps are recorded when a batch size is seen first, and replayed from then on.

    Where a step needs the CPU in between (``Pack.host_work``), or recording fails, steps are made
    one operation at a time as before; ``reason`` says so.

    Args:
        pack: whose state only changes by ``step``, ``keep`` and ``restore``, the last of them in
            place.
        recorder: of the device on which the pack lies.
    """

    def __init__(self, pack: Pack, recorder: Recorder) -> None:
        self.engine = pack.engine
        self.reason = f"{pack.reason}; steps are replayed as a graph"
        self._pack, self._recorder = pack, recorder
        self._recorded: dict[tuple[torch.Size, torch.dtype], _Recorded] = {}
        self._replays = True

    @property
    def num_replicas(self) -> int:
        return self._pack.num_replicas

    @property
    def host_work(self) -> str | None:
        return self._pack.host_work

    def step(
        self,
        inputs: Tensor,
        targets: Tensor,
        losses: Tensor,
        *,
        number: int = 0,
        rate_factor: float | Tensor = 1.0,
    ) -> None:
        key = (inputs.shape, inputs.dtype)
        recorded = self._recorded.get(key)
        if recorded is None and self._replays:
            recorded = self._record(inputs, targets, losses)
            if recorded is not None:
                self._recorded[key] = recorded
        if recorded is None:
            self._pack.step(inputs, targets, losses, number=number, rate_factor=rate_factor)
            return
        recorded.inputs.copy_(inputs)
        recorded.targets.copy_(targets)
        if isinstance(rate_factor, Tensor):
            recorded.rate_factor.copy_(rate_factor)
        else:
            recorded.rate_factor.fill_(rate_factor)
        recorded.replay()
        losses.copy_(recorded.losses)

    def logits(self, inputs: Tensor) -> Tensor:
        return self._pack.logits(inputs)

    def keep(self, replicas: Sequence[int]) -> None:
        # First: recorded steps write to memory that keeping fewer replicas gives back.
        self._recorded.clear()
        self._pack.keep(replicas)

    def parameters(self, replica: int) -> dict[str, Tensor]:
        return self._pack.parameters(replica)

    def buffers(self, replica: int) -> dict[str, Tensor]:
        return self._pack.buffers(replica)

    def velocities(self, replica: int) -> dict[str, Tensor]:
        return self._pack.velocities(replica)

    def state(self) -> dict[str, Tensor]:
        return self._pack.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        self._pack.restore(state)

    def _record(self, inputs: Tensor, targets: Tensor, losses: Tensor) -> _Recorded | None:
        """Record a step on copies of these; the pack's state is left as it is. None if it cannot
        be recorded."""
        pack = self._pack
        own = inputs.clone(), targets.clone(), torch.empty_like(losses)
        rate_factor = torch.ones((), dtype=losses.dtype, device=losses.device)

        def run() -> None:
            pack.step(*own, rate_factor=rate_factor)

        before = {name: tensor.clone() for name, tensor in pack.state().items()}
        replay, obstacle = None, pack.host_work
        if obstacle is None:
            self._recorder.warm_up(run)
            obstacle = pack.host_work  # some of it shows only when steps are made
        if obstacle is None:
            try:
                replay = self._recorder.record(run)
            except RuntimeError as error:
                obstacle = f"recording failed ({str(error).strip().splitlines()[0]})"
        pack.restore(before)
        if replay is None:
            self._replays = False
            self.reason = f"{pack.reason}; steps are not replayed as a graph: {obstacle}"
            return None
        return _Recorded(own[0], own[1], rate_factor, own[2], replay)


def captured(pack: Pack, device: torch.device) -> Pack:
    """The pack, with its steps in a CUDA graph if it lies on a CUDA device."""
    return CapturedPack(pack, CudaRecorder(device)) if device.type == "cuda" else pack
