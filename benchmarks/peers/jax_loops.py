"""JAX: one replica after the other, each step a compiled program.

For convolutions, which XLA runs many times as fast outside of a scan and of vmap as inside.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cells import LEARNING_RATE
from benchmarks.peers.base import Task, draw
from benchmarks.peers.jax_networks import Layout, Parameters, images, loss, parameters
from widthwise.data import Dataset

# XLA convolves this layout up to twice as fast as the other (tried once).
_LAYOUT: Layout = "NHWC"


class _Runner:
    def __init__(self, task: Task, data: Dataset) -> None:
        self._task = task
        self._inputs = images(data.train_inputs, _LAYOUT)
        self._labels = jnp.asarray(data.train_labels)
        family = task.cell.family()
        self._networks = [
            parameters(family.build(1.0, seed).state_dict(), _LAYOUT) for seed in task.seeds
        ]
        self._step = 0

        def train(network: Parameters, inputs: Any, labels: Any, batch: Any) -> Parameters:
            gradient = jax.grad(partial(loss, _LAYOUT))(network, inputs[batch], labels[batch])
            trained: Parameters = jax.tree.map(
                lambda p, g: p - LEARNING_RATE * g, network, gradient
            )
            return trained

        # Compiled here: compilation is not timed.
        batch = np.zeros(task.cell.batch_size, dtype=np.int32)
        self._train = (
            jax.jit(train, donate_argnums=0)
            .lower(self._networks[0], self._inputs, self._labels, batch)
            .compile()
        )

    def block(self) -> None:
        for i, seed in enumerate(self._task.seeds):
            drawn = draw(self._task, seed, self._step, len(self._labels)).astype(np.int32)
            for batch in drawn:
                self._networks[i] = self._train(
                    self._networks[i], self._inputs, self._labels, batch
                )
        jax.block_until_ready(self._networks)
        self._step += self._task.steps

    def losses(self) -> list[float]:
        each = jax.jit(partial(loss, _LAYOUT))
        return [float(each(network, self._inputs, self._labels)) for network in self._networks]


def start(task: Task, data: Dataset) -> _Runner:
    return _Runner(task, data)
