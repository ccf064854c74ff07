"""Loops on a card, each replica's whole step recorded once as a CUDA graph and then replayed.

As PyTorch's notes on CUDA semantics have it ("whole-network capture"): a few steps on a stream
aside, gradients dropped, then forward, backward and update recorded on tensors that stay where they
are. Written for a card and not run on one yet; on the CPU, which has no graphs, a step is made anew
instead of being replayed.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.cells import LEARNING_RATE
from benchmarks.peers.base import Task, draw, mean_losses, tensors
from widthwise.data import Dataset
from widthwise.engines.captured import CudaRecorder, Recorder


class Anew:
    """Stands in for a recorder on a device without graphs: calls the function again."""

    def warm_up(self, run: Callable[[], None]) -> None:
        run()

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        return run


class _Runner:
    def __init__(self, task: Task, data: Dataset, recorder: Recorder) -> None:
        self._task, self._data, self._recorder = task, data, recorder
        self._inputs, self._labels = tensors(data, task.device)
        family = task.cell.family()
        self._modules = [family.build(1.0, seed).to(task.device) for seed in task.seeds]
        self._criterion = nn.CrossEntropyLoss()
        # Indices of the next batch: every recorded step reads them here.
        self._batch = torch.zeros(task.cell.batch_size, dtype=torch.int64, device=task.device)
        self._replays: list[Callable[[], None]] = []
        self._step = 0

    def block(self) -> None:
        if not self._replays:  # in the first block, which warms up: what it takes is seen there
            self._replays = [self._record(module) for module in self._modules]
        for seed, replay in zip(self._task.seeds, self._replays, strict=True):
            drawn = torch.from_numpy(draw(self._task, seed, self._step, len(self._labels)))
            for batch in drawn.to(self._task.device):
                self._batch.copy_(batch)
                replay()
        self._step += self._task.steps

    def losses(self) -> list[float]:
        return mean_losses(self._modules, self._data, self._task.device)

    def _record(self, module: nn.Module) -> Callable[[], None]:
        """What makes a step of this module, which is left as it is."""
        optimizer = torch.optim.SGD(module.parameters(), lr=LEARNING_RATE)
        before = [parameter.detach().clone() for parameter in module.parameters()]
        step = partial(self._train, module, optimizer)
        self._recorder.warm_up(step)
        # So that the recorded step makes gradients of its own, and overwrites them when replayed.
        optimizer.zero_grad(set_to_none=True)
        replay = self._recorder.record(step)
        _restore(module, before)
        return replay

    def _train(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)
        inputs = self._inputs.index_select(0, self._batch)
        loss = self._criterion(module(inputs), self._labels.index_select(0, self._batch))
        loss.backward()
        optimizer.step()


@torch.no_grad()
def _restore(module: nn.Module, parameters: list[Tensor]) -> None:
    for parameter, before in zip(module.parameters(), parameters, strict=True):
        parameter.copy_(before)


def start(task: Task, data: Dataset, *, recorder: Recorder | None = None) -> _Runner:
    """``recorder``: None is CUDA's on a card, whose graphs share the memory of what a step needs in
    between."""
    return _Runner(task, data, recorder or _recorder(torch.device(task.device)))


def _recorder(device: torch.device) -> Recorder:
    if device.type != "cuda":
        return Anew()
    return CudaRecorder(device, shares_memory=True)
