"""Ordinary PyTorch: one replica after the other, each in the loop of the textbook."""

import torch
from torch import Tensor, nn

from benchmarks.cells import LEARNING_RATE
from benchmarks.peers.base import Task, draw, mean_losses, tensors
from widthwise.data import Dataset


class _Runner:
    def __init__(
        self,
        task: Task,
        data: Dataset,
        fused: bool | None,
        layout: torch.memory_format,
        compiled: bool,
    ) -> None:
        self._task, self._data = task, data
        self._inputs, self._labels = tensors(data, task.device)
        self._channels_last = layout == torch.channels_last
        if self._channels_last:
            # Examples (height, width, channels): gathered as they lie, no batch is rearranged.
            self._inputs = self._inputs.permute(0, 2, 3, 1).contiguous()
        family = task.cell.family()
        self._modules = [family.build(1.0, seed).to(task.device) for seed in task.seeds]
        for module in self._modules:
            module.to(memory_format=layout)  # type: ignore[call-overload]
        self._optimizers = [
            torch.optim.SGD(module.parameters(), lr=LEARNING_RATE, fused=fused)
            for module in self._modules
        ]
        self._criterion = nn.CrossEntropyLoss()
        # Modules of one shape share what is compiled, in the first block that is trained.
        self._forwards = [torch.compile(m) if compiled else m for m in self._modules]
        self._step = 0

    def block(self) -> None:
        labels, criterion = self._labels, self._criterion
        for seed, forward, optimizer in zip(
            self._task.seeds, self._forwards, self._optimizers, strict=True
        ):
            drawn = torch.from_numpy(draw(self._task, seed, self._step, len(labels)))
            for batch in drawn.to(self._task.device):
                optimizer.zero_grad(set_to_none=True)
                loss = criterion(forward(self._gather(batch)), labels.index_select(0, batch))
                loss.backward()
                optimizer.step()
        self._step += self._task.steps

    def losses(self) -> list[float]:
        return mean_losses(self._modules, self._data, self._task.device)

    def _gather(self, batch: Tensor) -> Tensor:
        inputs = self._inputs.index_select(0, batch)
        return inputs.permute(0, 3, 1, 2) if self._channels_last else inputs


def start(
    task: Task,
    data: Dataset,
    *,
    fused: bool | None = None,
    channels_last: bool = False,
    compiled: bool = False,
) -> _Runner:
    """``fused`` goes to ``torch.optim.SGD`` (None is its default); ``channels_last`` is the memory
    format of images and convolutions; ``compiled`` puts the module under ``torch.compile``."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return _Runner(task, data, fused, layout, compiled)
