"""Ghost batch norm: batch-norm statistics over parts of fixed size, whatever the batch size is.

Source: Hoffer, Hubara & Soudry (2017), arXiv:1705.08741, algorithm 1. A study varies the batch size
to vary the noise scale; ordinary batch norm changes with it, this one does not.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from widthwise.errors import InputError

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def _checked_size(ghost_batch_size: int) -> int:
    if not isinstance(ghost_batch_size, int) or ghost_batch_size < 1:
        raise InputError(
            f"ghost_batch_size must be a whole number of examples, at least 1, "
            f"got {ghost_batch_size!r}"
        )
    return ghost_batch_size


class _GhostBatchNorm(_BatchNorm):
    """What the layers for each number of axes share; they name the base that checks the axes."""

    ghost_batch_size: int

    def __init__(self, num_features: int, *args: Any, ghost_batch_size: int, **options: Any):
        super().__init__(num_features, *args, **options)
        self.ghost_batch_size = _checked_size(ghost_batch_size)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name nn.BatchNorm2d uses
        if not self.training:
            return super().forward(input)
        batch_size = input.shape[0]
        if batch_size == 0 or batch_size % self.ghost_batch_size:
            raise InputError(
                f"ghost batch norm needs a batch size that is a multiple of ghost_batch_size="
                f"{self.ghost_batch_size}, got {batch_size}; change one of them"
            )
        parts = torch.split(input, self.ghost_batch_size)
        return torch.cat([super(_GhostBatchNorm, self).forward(part) for part in parts])

    def extra_repr(self) -> str:
        ordinary = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{ordinary}, ghost_batch_size={self.ghost_batch_size}"


class GhostBatchNorm1d(_GhostBatchNorm, nn.BatchNorm1d):
    """``nn.BatchNorm1d`` that normalizes consecutive parts of the batch by themselves.

    In training mode the batch is cut into parts of ``ghost_batch_size`` examples and each part is
    treated as if it were a forward pass of its own: it is normalized by its own mean and variance
    and updates the running statistics once, in order. In evaluation mode it is ordinary batch norm.
    Shapes, parameters, buffers and options as ``nn.BatchNorm1d``.

    Raises:
        InputError: in training mode, if the batch size is no multiple of ``ghost_batch_size``.

    >>> layer = GhostBatchNorm1d(3, affine=False, ghost_batch_size=2)
    >>> layer(torch.tensor([[0.0], [2.0], [5.0], [7.0]]).expand(4, 3))[:, 0].round().tolist()
    [-1.0, 1.0, -1.0, 1.0]
    """


class GhostBatchNorm2d(_GhostBatchNorm, nn.BatchNorm2d):
    """``nn.BatchNorm2d`` over parts of the batch; see :class:`GhostBatchNorm1d`."""


_GHOST_OF: dict[type[nn.Module], type[_GhostBatchNorm]] = {
    nn.BatchNorm1d: GhostBatchNorm1d,
    nn.BatchNorm2d: GhostBatchNorm2d,
    GhostBatchNorm1d: GhostBatchNorm1d,
    GhostBatchNorm2d: GhostBatchNorm2d,
}


def with_ghost_batch_norm(module: ModuleT, ghost_batch_size: int) -> ModuleT | _GhostBatchNorm:
    """Replace every batch-norm layer of ``module`` by one over parts of ``ghost_batch_size``.

    The module is changed in place and returned (a module that is itself a batch-norm layer is
    replaced), as ``nn.SyncBatchNorm.convert_sync_batchnorm`` does. Parameters and buffers are
    the same tensors under the same names; options, mode and hooks stay. A layer used in two places
    is still one layer. Layers that are ghost batch norm already get the new size.

    Raises:
        InputError: if the size is no positive whole number, or a layer is another kind of batch
            norm (``nn.BatchNorm3d``, a subclass with a forward of its own), of which no ghost
            form is known.

    >>> with_ghost_batch_norm(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), 16)[1]
    GhostBatchNorm1d(3, eps=1e-05, ..., ghost_batch_size=16)
    """
    size = _checked_size(ghost_batch_size)
    replacements: dict[nn.Module, _GhostBatchNorm] = {}
    for path, layer in module.named_modules():
        if isinstance(layer, _BatchNorm):
            replacements[layer] = _ghost_form(layer, path, size)
    # All layers are found before the first is replaced: a refusal leaves the module as it was.
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if child in replacements:
                parent._modules[name] = replacements[child]
    return replacements.get(module, module)


def _ghost_form(layer: _BatchNorm, path: str, size: int) -> _GhostBatchNorm:
    if type(layer) not in _GHOST_OF:
        known = ", ".join(kind.__name__ for kind in (nn.BatchNorm1d, nn.BatchNorm2d))
        raise InputError(
            f"ghost batch norm is known for {known}, but layer {path or 'module'!r} is "
            f"{type(layer).__name__}; replace that layer or leave ghost_batch_size out"
        )
    kind = _GHOST_OF[type(layer)]
    ghost = kind.__new__(kind)
    # Everything the layer holds, hooks and mode included: no list of attributes to keep complete.
    ghost.__dict__.update(layer.__dict__)
    ghost.ghost_batch_size = size
    return ghost
