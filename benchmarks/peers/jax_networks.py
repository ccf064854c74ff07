"""The families' networks in JAX."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

Layout = Literal["NCHW", "NHWC"]
Parameters = list[tuple[Any, Any]]  # (weight, bias) of each layer
_KERNELS: dict[Layout, str] = {"NCHW": "OIHW", "NHWC": "HWIO"}


def parameters(state: Mapping[str, Any], layout: Layout) -> Parameters:
    """From the state dictionary of a module whose layers all have weight and bias."""
    names = [name.removesuffix("weight") for name in state if name.endswith("weight")]
    return [
        (_weight(state[name + "weight"].numpy(), layout), jnp.asarray(state[name + "bias"].numpy()))
        for name in names
    ]


def stacked(every: Sequence[Parameters]) -> Parameters:
    """Parameters of several networks as one, replica first."""
    together: Parameters = jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)
    return together


def images(inputs: np.ndarray, layout: Layout) -> Any:
    """Inputs (N, *shape); images (N, C, H, W) are rearranged as the layout wants them."""
    moved = np.moveaxis(inputs, 1, -1) if inputs.ndim == 4 and layout == "NHWC" else inputs
    return jnp.asarray(np.ascontiguousarray(moved))


def loss(layout: Layout, network: Parameters, inputs: Any, labels: Any) -> Any:
    """Mean cross-entropy; convolutions are 3×3, each followed by a rectifier and 2×2 pooling."""
    *hidden, (weight, bias) = network
    for w, b in hidden:
        if w.ndim == 4:
            inputs = _pool(jax.nn.relu(_conv(inputs, w, b, layout)), layout)
        else:
            inputs = jax.nn.relu(_flat(inputs, layout) @ w + b)
    log_probabilities = jax.nn.log_softmax(_flat(inputs, layout) @ weight + bias)
    return -jnp.mean(jnp.take_along_axis(log_probabilities, labels[:, None], axis=1))


def _weight(weight: np.ndarray, layout: Layout) -> Any:
    if weight.ndim == 2:
        return jnp.asarray(weight.T)
    return jnp.asarray(weight.transpose(2, 3, 1, 0) if layout == "NHWC" else weight)


def _conv(inputs: Any, weight: Any, bias: Any, layout: Layout) -> Any:
    numbers = (layout, _KERNELS[layout], layout)
    outputs = jax.lax.conv_general_dilated(
        inputs, weight, (1, 1), "SAME", dimension_numbers=numbers
    )
    return outputs + (bias if layout == "NHWC" else bias[:, None, None])


def _pool(inputs: Any, layout: Layout) -> Any:
    """Each layout in the way that was faster in it, gradient included."""
    if layout == "NCHW":
        window = (1, 1, 2, 2)
        return jax.lax.reduce_window(inputs, -jnp.inf, jax.lax.max, window, window, "VALID")
    n, height, width, channels = inputs.shape
    return inputs.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def _flat(inputs: Any, layout: Layout) -> Any:
    if inputs.ndim == 4 and layout == "NHWC":
        inputs = inputs.transpose(0, 3, 1, 2)  # the order of the readout's weights
    return inputs.reshape(len(inputs), -1)
