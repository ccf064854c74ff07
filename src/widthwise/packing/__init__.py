"""Many replicas as one: ordinary modules in, a :class:`Pack` that trains them together out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from widthwise.errors import InputError
from widthwise.packing.base import Pack
from widthwise.packing.chain import NotAChainError, read_chain
from widthwise.packing.chain_pack import ChainPack
from widthwise.packing.proof import prove
from widthwise.packing.vmap_pack import VmapPack

__all__ = ["Pack", "pack"]


def pack(
    modules: Sequence[nn.Module],
    learning_rates: Sequence[float] | Tensor,
    momenta: Sequence[float] | Tensor | None = None,
    *,
    example: tuple[Tensor, Tensor] | None = None,
) -> Pack:
    """Stack modules of one architecture for training together by SGD.

    The modules are copied, not changed. A chain of dense layers and activations gets the fast
    engine; anything else runs under ``torch.func.vmap``; ``Pack.engine`` and ``Pack.reason`` say
    which way was taken and why.

    Args:
        modules: R modules with the same parameter names and shapes.
        learning_rates: (R,) positive.
        momenta: (R,) in [0, 1); None is no momentum.
        example: inputs (n, *shape) and targets (n,) on which the pack proves itself: its
            logits and its first gradient step against those of the modules.

    Raises:
        InputError: if the modules differ in shape, contain a layer neither engine can serve
            (named), or the packed arithmetic does not agree with the modules' own.
    """
    if not modules:
        raise InputError("a pack needs at least one module, got none")
    rates = torch.as_tensor(learning_rates, dtype=torch.float64)
    decays = (
        torch.zeros_like(rates) if momenta is None else torch.as_tensor(momenta, dtype=rates.dtype)
    )
    _check(modules, rates, decays)
    try:
        layers = read_chain(modules[0])
    except NotAChainError as error:
        packed: Pack = VmapPack(modules, rates, decays, str(error))
    else:
        packed = ChainPack(layers, modules, rates, decays)
    if example is not None:
        sample = list(modules[:2])
        first: Pack = (
            VmapPack(sample, rates[:2], decays[:2], "")
            if packed.engine == "vmap"
            else ChainPack(layers, sample, rates[:2], decays[:2])
        )
        prove(first, sample, rates[:2], *example)
    return packed


def _check(modules: Sequence[nn.Module], rates: Tensor, momenta: Tensor) -> None:
    if rates.shape != (len(modules),) or momenta.shape != rates.shape:
        raise InputError(
            f"one learning rate and one momentum a module: got {len(modules)} modules, "
            f"{tuple(rates.shape)} learning rates, {tuple(momenta.shape)} momenta"
        )
    if not bool(((rates > 0) & torch.isfinite(rates)).all()):
        raise InputError(f"learning rates must be positive and finite, got {rates.tolist()}")
    if not bool(((momenta >= 0) & (momenta < 1)).all()):
        raise InputError(f"momentum must lie in [0, 1), got {momenta.tolist()}")
    shapes = [{name: p.shape for name, p in m.named_parameters()} for m in modules]
    if not shapes[0]:
        raise InputError("the modules have no parameters to train")
    for i, other in enumerate(shapes):
        if other != shapes[0]:
            names = [n for n in {**shapes[0], **other} if shapes[0].get(n) != other.get(n)]
            raise InputError(
                f"modules of a pack must share every shape; module {i} differs in "
                f"{names[0]!r}: {other.get(names[0])} against {shapes[0].get(names[0])}"
            )
