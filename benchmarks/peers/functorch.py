"""Model ensembling as PyTorch's own tutorial has it: torch.func's vmap over stacked weights."""

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from benchmarks.cells import LEARNING_RATE
from benchmarks.peers.base import Task, draw, mean_losses, tensors
from widthwise.data import Dataset


class _Runner:
    def __init__(self, task: Task, data: Dataset) -> None:
        self._task, self._data = task, data
        self._inputs, self._labels = tensors(data, task.device)
        family = task.cell.family()
        self._modules = [family.build(1.0, seed).to(task.device) for seed in task.seeds]
        stacked, _ = stack_module_state(self._modules)
        self._parameters = {name: p.detach() for name, p in stacked.items()}
        skeleton = self._modules[0]

        def loss(parameters: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
            return functional.cross_entropy(functional_call(skeleton, parameters, inputs), labels)

        self._gradients = vmap(grad(loss))
        self._step = 0

    def block(self) -> None:
        drawn = torch.stack(
            [
                torch.from_numpy(draw(self._task, seed, self._step, len(self._labels)))
                for seed in self._task.seeds
            ],
            dim=1,
        ).to(self._task.device)
        shape = (*drawn.shape[1:], *self._inputs.shape[1:])
        for batch in drawn:
            flat = batch.reshape(-1)
            inputs = self._inputs.index_select(0, flat).view(shape)
            labels = self._labels.index_select(0, flat).view(shape[:2])
            with torch.no_grad():
                for name, gradient in self._gradients(self._parameters, inputs, labels).items():
                    self._parameters[name].add_(gradient, alpha=-LEARNING_RATE)
        self._step += self._task.steps

    @torch.no_grad()
    def losses(self) -> list[float]:
        for i, module in enumerate(self._modules):
            for name, parameter in module.named_parameters():
                parameter.copy_(self._parameters[name][i])
        return mean_losses(self._modules, self._data, self._task.device)


def start(task: Task, data: Dataset) -> _Runner:
    return _Runner(task, data)
