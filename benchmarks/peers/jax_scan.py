"""JAX: vmap over replicas, lax.scan over the steps of a block, all of it one compiled program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cells import LEARNING_RATE
from benchmarks.peers.base import Task, draw, tensors
from widthwise.data import Dataset

_Parameters = list[tuple[Any, Any]]


def _loss(parameters: _Parameters, inputs: Any, labels: Any) -> Any:
    *hidden, (weight, bias) = parameters
    for w, b in hidden:
        inputs = jax.nn.relu(inputs @ w + b)
    log_probabilities = jax.nn.log_softmax(inputs @ weight + bias)
    return -jnp.mean(jnp.take_along_axis(log_probabilities, labels[:, None], axis=1))


class _Runner:
    def __init__(self, task: Task, data: Dataset) -> None:
        self._task = task
        inputs, labels = (jnp.asarray(t.numpy()) for t in tensors(data))
        self._inputs, self._labels = inputs, labels
        states = [task.cell.family().build(1.0, seed).state_dict() for seed in task.seeds]
        names = [name for name in states[0] if name.endswith("weight")]
        self._parameters: _Parameters = [
            (
                jnp.asarray(np.stack([s[name].numpy().T for s in states])),
                jnp.asarray(
                    np.stack([s[name.removesuffix("weight") + "bias"].numpy() for s in states])
                ),
            )
            for name in names
        ]
        self._step = 0
        gradients = jax.vmap(jax.grad(_loss))

        def step(parameters: _Parameters, batch: Any) -> tuple[_Parameters, None]:
            gradient = gradients(parameters, inputs[batch], labels[batch])
            return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradient), None

        def train(parameters: _Parameters, batches: Any) -> _Parameters:
            trained, _ = jax.lax.scan(step, parameters, batches)
            return trained

        # Compiled here: compilation is not timed.
        self._train = (
            jax.jit(train, donate_argnums=0).lower(self._parameters, self._draw()).compile()
        )

    def _draw(self) -> Any:
        drawn = [draw(self._task, s, self._step, len(self._labels)) for s in self._task.seeds]
        return np.stack(drawn, axis=1).astype(np.int32)

    def block(self, trained: Callable[[], None]) -> None:
        self._parameters = self._train(self._parameters, self._draw())
        for leaf in jax.tree.leaves(self._parameters):
            leaf.block_until_ready()
        self._step += self._task.steps
        trained()

    def losses(self) -> list[float]:
        every = jax.vmap(_loss, in_axes=(0, None, None))
        return [float(x) for x in every(self._parameters, self._inputs, self._labels)]


def start(task: Task, data: Dataset) -> _Runner:
    return _Runner(task, data)
