"""JAX: vmap over replicas, lax.scan over the steps of a block, all of it one compiled program."""

from collections.abc import Sequence
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
    def __init__(self, task: Task, data: Dataset, one_by_one: bool) -> None:
        self._task = task
        self._inputs = inputs = images(data.train_inputs, _LAYOUT)
        self._labels = labels = jax.numpy.asarray(data.train_labels)
        # Seeds that one call trains together.
        self._groups = [(seed,) for seed in task.seeds] if one_by_one else [task.seeds]
        family = task.cell.family()
        self._parameters = [
            stacked([parameters(family.build(1.0, seed).state_dict(), _LAYOUT) for seed in group])
            for group in self._groups
        ]
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
            jax.jit(train, donate_argnums=0)
            .lower(self._parameters[0], self._draw(self._groups[0]))
            .compile()
        )

    def _draw(self, seeds: Sequence[int]) -> Any:
        drawn = [draw(self._task, seed, self._step, len(self._labels)) for seed in seeds]
        return np.stack(drawn, axis=1).astype(np.int32)

    def block(self) -> None:
        for i, group in enumerate(self._groups):
            self._parameters[i] = self._train(self._parameters[i], self._draw(group))
        jax.block_until_ready(self._parameters)
        self._step += self._task.steps

    def losses(self) -> list[float]:
        each = jax.jit(partial(loss, _LAYOUT))
        networks = [
            jax.tree.map(lambda leaf, i=i: leaf[i], together)
            for group, together in zip(self._groups, self._parameters, strict=True)
            for i in range(len(group))
        ]
        return [float(each(network, self._inputs, self._labels)) for network in networks]


def start(task: Task, data: Dataset, *, one_by_one: bool = False) -> _Runner:
    """All replicas together, or ``one_by_one``: each scanned over its steps alone."""
    return _Runner(task, data, one_by_one)
