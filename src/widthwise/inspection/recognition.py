"""Which known schemes a parameter's values match."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from widthwise.inspection.fit import Sample, fits, resolution
from widthwise.inspection.layers import Use, base_fans_of, width_tag
from widthwise.inspection.schemes import MUP, SCALED, SCHEMES, Fans, Role, Scheme
from widthwise.inspection.values import Statistics, sample

Status = Literal["matched", "ambiguous", "undecided", "unknown", "constant", "not judged"]

# A match is a decision only if a standard deviation this far off would have been rejected.
RESOLUTION = 0.2
# More rows of a matrix do not make it more orthogonal.
_ORTHOGONAL_ROWS = 128
_ORTHOGONAL_ERROR = 1e-3
_NTK_ERROR = 1e-6


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """What the values of a parameter match.

    Attributes:
        status: "matched" (one scheme), "ambiguous" (several fit), "undecided" (something fits, but
            the values are too few to say so), "unknown" (nothing fits), "constant", "not judged".
        matches: names of what fits; see ``schemes.SCHEMES``; also "zeros", "ones", "constant",
            "identity", "orthogonal".
        scheme_stds: name and standard deviation of every scheme that could apply.
        detail: what the status does not say, for people.
    """

    status: Status
    matches: tuple[str, ...] = ()
    scheme_stds: tuple[tuple[str, float], ...] = ()
    detail: str = ""


def recognize(
    use: Use,
    role: Role,
    fans: Fans,
    multiplier: float,
    measured: Statistics,
    *,
    confidence: float,
) -> Recognition:
    """Matches a parameter with every scheme that could apply to it.

    The true scheme, if it is in the table, is among the matches with probability ≥ confidence.
    Where the parameter has a multiplier c, c·W may follow a scheme as well as W; for NTK layers,
    whose own schemes say so, only if W follows none.
    """
    candidates = _candidates(use, role, fans, multiplier)
    stds = tuple((name, std) for name, _, std in candidates)
    tensor = use.parameter.detach()
    n = tensor.numel()
    if not measured.finite:
        return Recognition(status="unknown", scheme_stds=stds, detail="not all values are finite")
    if measured.constant:
        return _constant(measured.largest, n, stds)
    if tensor.dim() >= 2 and (exact := _exact_matrix(tensor)) is not None:
        name, detail = exact
        return Recognition(status="matched", matches=(name,), scheme_stds=stds, detail=detail)
    values = sample(_drawn(use))
    n = len(values.ordered)

    def matching(rows: list[tuple[str, Scheme, float]]) -> list[tuple[str, Scheme]]:
        return [
            (name, scheme)
            for name, scheme, std in rows
            if fits(values, scheme.distribution, std, confidence)
        ]

    matched = matching(candidates)
    if not (matched and is_ntk(multiplier, fans.fan_in)):
        scaled = _scaled(use, role, fans, multiplier, candidates)
        stds += tuple((name, std) for name, _, std in scaled)
        matched += matching(scaled)
    names = tuple(name for name, _ in matched)
    if not matched:
        return Recognition(status="unknown", scheme_stds=stds, detail=_shape(values, measured))
    coarsest = max(resolution(n, scheme.distribution, confidence) for _, scheme in matched)
    if coarsest > RESOLUTION:
        detail = f"{n} values decide little"
        return Recognition(status="undecided", matches=names, scheme_stds=stds, detail=detail)
    status: Status = "matched" if len(matched) == 1 else "ambiguous"
    return Recognition(status=status, matches=names, scheme_stds=stds)


def is_ntk(multiplier: float, fan_in: float | None) -> bool:
    """Whether the layer multiplies by 1/√fan_in."""
    if fan_in is None or multiplier == 1.0:
        return False
    return math.isclose(multiplier * math.sqrt(fan_in), 1.0, rel_tol=_NTK_ERROR)


def _candidates(
    use: Use, role: Role, fans: Fans, multiplier: float
) -> list[tuple[str, Scheme, float]]:
    """Name, scheme and standard deviation of what could apply, each once.

    For a parameter that the mup package has tagged, a scheme's deviation is the one of that
    package's ``init`` and ``set_base_shapes``: at the base shape, over √(fan-in / base fan-in)
    where two dimensions grow (Yang et al. 2022, arXiv:2203.03466, table 8). The untouched scheme
    is kept beside it where it differs.
    """
    ntk = is_ntk(multiplier, fans.fan_in)
    tag = width_tag(use.parameter)
    found: list[tuple[str, Scheme, float]] = []
    for scheme in SCHEMES:
        if role not in scheme.roles or scheme.ntk > ntk:
            continue
        if ntk and scheme.name == "normal(1)":  # ntk(σ0²=1) is the same
            continue
        plain = scheme.std(fans)
        scaled = None
        if tag is not None:
            at_base = scheme.std(base_fans_of(use, role))
            shrink = math.sqrt(tag.fan_in_multiplier) if tag.num_width_dims == 2 else 1.0
            scaled = None if at_base is None else at_base / shrink
        if scaled is not None:
            found.append((f"{MUP}{scheme.name}", scheme, scaled))
        if plain is not None and (scaled is None or not math.isclose(plain, scaled, rel_tol=1e-9)):
            found.append((scheme.name, scheme, plain))
    return found


def _scaled(
    use: Use,
    role: Role,
    fans: Fans,
    multiplier: float,
    candidates: list[tuple[str, Scheme, float]],
) -> list[tuple[str, Scheme, float]]:
    """The schemes that c·W may follow, beside those that are candidates already."""
    if multiplier == 1.0 or width_tag(use.parameter) is not None:
        return []
    known = [(scheme.distribution, std) for _, scheme, std in candidates]
    found = []
    for scheme in SCHEMES:
        std = scheme.std(fans)
        if role not in scheme.roles or scheme.ntk or std is None:
            continue
        std /= multiplier
        same = (d == scheme.distribution and math.isclose(s, std, rel_tol=1e-9) for d, s in known)
        if not any(same):
            found.append((f"{SCALED}{scheme.name}", scheme, std))
    return found


def _constant(value: float, n: int, stds: tuple[tuple[str, float], ...]) -> Recognition:
    known = {0.0: "zeros", 1.0: "ones"}
    if value in known:
        return Recognition(status="constant", matches=(known[value],), scheme_stds=stds)
    if n == 1:
        detail = f"one value, {value:.4g}, decides nothing"
        return Recognition(status="undecided", scheme_stds=stds, detail=detail)
    return Recognition(
        status="constant", matches=("constant",), scheme_stds=stds, detail=f"{value:.4g}"
    )


def _drawn(use: Use) -> Tensor:
    """The values that were drawn: an embedding's padding row is set to zero afterwards."""
    tensor = use.parameter.detach()
    padding = getattr(use.owner, "padding_idx", None)
    embedding = isinstance(use.owner, nn.Embedding | nn.EmbeddingBag)
    if not embedding or padding is None or len(tensor) < 2 or bool(tensor[padding].any()):
        return tensor
    return torch.cat([tensor[:padding], tensor[padding + 1 :]])


def _exact_matrix(tensor: Tensor) -> tuple[str, str] | None:
    """What ``nn.init.eye_`` and ``orthogonal_`` make, with its gain; None for anything else.

    Orthogonal: some of the vectors on the shorter side of size(0) × (the rest) have products
    WᵀW = gain²·1. Values drawn independently miss that by about 1/√length.
    """
    if torch.finfo(tensor.dtype).eps > 1e-4:  # half precision rounds more than we allow
        return None
    matrix = tensor.reshape(tensor.shape[0], -1)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    if matrix.shape[0] < 2:
        return None
    vectors = matrix[:_ORTHOGONAL_ROWS].to("cpu", torch.float64)
    products = (vectors @ vectors.T).numpy()
    squared_gain = float(np.trace(products)) / len(products)
    off = np.abs(products - squared_gain * np.eye(len(products))).max()
    if not squared_gain > 0.0 or off > _ORTHOGONAL_ERROR * squared_gain:
        return None
    diagonal = torch.eye(*matrix.shape, dtype=torch.float64)[:_ORTHOGONAL_ROWS]
    if bool((vectors == diagonal).all()):
        return "identity", ""
    return "orthogonal", f"gain {math.sqrt(squared_gain):.4g}"


def _shape(values: Sample, measured: Statistics) -> str:
    """What values that match nothing look like."""
    largest = values.largest / measured.std
    return f"kurtosis {measured.kurtosis:.2f}, largest {largest:.2f} σ, mean {measured.mean:.2g}"
