"""JAX: vmap over replicas, lax.scan over the steps of a block, all of it one compiled program."""

from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.cells import LEARNING_RATE
from benchmarks.peers.base import Task, draw
from benchmarks.peers.jax_networks import Layout, Parameters, images, loss, parameters, stacked
from widthwise.data import Dataset

# Inside a scan XLA convolves this layout up to three times as fast as the other (tried once).
_LAYOUT: Layout = "NCHW"


class _Runner:
    def __init__(self, task: Task, data: Dataset) -> None:
        self._task = task
        self._inputs = inputs = images(data.train_inputs, _LAYOUT)
        self._labels = labels = jax.numpy.asarray(data.train_labels)
        family = task.cell.family()
        self._parameters = stacked(
            [parameters(family.build(1.0, seed).state_dict(), _LAYOUT) for seed in task.seeds]
        )
        self._step = 0
        gradients = jax.vmap(jax.grad(partial(loss, _LAYOUT)))

        def step(parameters: Parameters, batch: Any) -> tuple[Parameters, None]:
            gradient = gradients(parameters, inputs[batch], labels[batch])
            return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradient), None

        def train(parameters: Parameters, batches: Any) -> Parameters:
            trained, _ = jax.lax.scan(step, parameters, batches)
            return trained

        # Compiled here: compilation is not timed.
        self._train = (
            jax.jit(train, donate_argnums=0).lower(self._parameters, self._draw()).compile()
        )

    def _draw(self) -> Any:
        drawn = [draw(self._task, s, self._step, len(self._labels)) for s in self._task.seeds]
        return np.stack(drawn, axis=1).astype(np.int32)

    def block(self) -> None:
        self._parameters = self._train(self._parameters, self._draw())
        jax.block_until_ready(self._parameters)
        self._step += self._task.steps

    def losses(self) -> list[float]:
        each = jax.jit(partial(loss, _LAYOUT))
        networks = [
            jax.tree.map(lambda leaf, i=i: leaf[i], self._parameters)
            for i in range(len(self._task.seeds))
        ]
        return [float(each(network, self._inputs, self._labels)) for network in networks]


def start(task: Task, data: Dataset) -> _Runner:
    return _Runner(task, data)
