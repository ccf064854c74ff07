"""The paper's families as specifications of studies, at three sizes.

The paper is Park et al. (2019), arXiv:1905.03776. What its text fixes and what was chosen here is
in :mod:`widthwise.reproduce.paper`; nothing below is taken from the paper unless it says so there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from widthwise.errors import InputError
from widthwise.reproduce.sizes import (
    DATA,
    NETWORKS,
    REGIONS,
    SIZES,
    Extent,
    Network,
    Region,
)

Parameterization = Literal["standard", "ntk"]
Normalization = Literal["none", "batch"]
Purpose = Literal["law", "collapse"]

PARAMETERIZATIONS: tuple[Parameterization, ...] = ("standard", "ntk")
NORMALIZATIONS: tuple[Normalization, ...] = ("none", "batch")
DEFAULT_DATA = "fashion-mnist"
# Octaves to which every width's optimum is sought: loose, because the exponent is what counts.
_PRECISION = 2.0


@dataclass(frozen=True, kw_only=True)
class PresetName:
    """Which preset: a network in a parameterization, with or without batch norm, for a purpose.

    Attributes:
        network: a key of :data:`widthwise.reproduce.sizes.NETWORKS`.
        parameterization: "standard" or "ntk".
        normalization: "none" or "batch".
        purpose: "law" searches the best noise scale of every width; "collapse" runs settings of
            equal noise scale at different learning rates, batch sizes and momenta.

    Raises:
        InputError: if there is no such preset.
    """

    network: str
    parameterization: Parameterization = "standard"
    normalization: Normalization = "none"
    purpose: Purpose = "law"

    def __post_init__(self) -> None:
        require(self.network, NETWORKS, "network")
        require(self.parameterization, PARAMETERIZATIONS, "parameterization")
        require(self.normalization, NORMALIZATIONS, "normalization")
        if self.region_key not in REGIONS:
            raise InputError(
                f"there is no preset {self.network!r} with parameterization "
                f"{self.parameterization!r} and normalization {self.normalization!r}; "
                "batch norm goes with cnn and wide-resnet"
            )

    @property
    def region_key(self) -> tuple[str, str, str]:
        return NETWORKS[self.network].kind, self.parameterization, self.normalization

    def __str__(self) -> str:
        """The name of its directory.

        >>> str(PresetName(network="cnn", normalization="batch"))
        'cnn-standard-batch-norm'
        >>> str(PresetName(network="mlp-1", parameterization="ntk", purpose="collapse"))
        'mlp-1-ntk-collapse'
        """
        parts = [self.network, self.parameterization]
        parts += ["batch-norm"] * (self.normalization == "batch")
        parts += ["collapse"] * (self.purpose == "collapse")
        return "-".join(parts)


def all_presets() -> list[PresetName]:
    """Every preset there is, in the order of the tables."""
    return [
        PresetName(
            network=name, parameterization=parameterization, normalization=normalization, purpose=to
        )
        for name, network in NETWORKS.items()
        for to in purposes(network)
        for normalization in NORMALIZATIONS
        for parameterization in PARAMETERIZATIONS
        if (network.kind, parameterization, normalization) in REGIONS
    ]


def purposes(network: Network) -> tuple[Purpose, ...]:
    """What a network has presets for: the collapse is tested where runs are cheap."""
    return ("law", "collapse") if network.kind == "mlp" else ("law",)


def preset(
    name: str,
    *,
    size: str,
    data: str | None = None,
    parameterization: str = "standard",
    normalization: str = "none",
    purpose: str = "law",
) -> dict[str, Any]:
    """The fields of a :class:`widthwise.study.spec.StudySpec`.

    Args:
        name: "mlp-1", "mlp-2", "mlp-3", "cnn" or "wide-resnet".
        size: "minutes" and "hours" on a few cores, "paper" on a GPU or a cluster.
        data: "fashion-mnist" (the default; at "minutes" the bundled part of it), "mnist",
            "cifar10" or "mnist1d". All but the first and the last are read from disk.
        parameterization: "standard" or "ntk".
        normalization: "none" or "batch".
        purpose: "law" or "collapse", see :class:`PresetName`.

    Raises:
        InputError: if there is no such preset.

    >>> fields = preset("mlp-1", size="minutes", parameterization="ntk")
    >>> fields["family"]
    {'kind': 'mlp', 'parameterization': 'ntk', 'base_width': 32, 'depth': 1}
    >>> fields["data"]
    {'name': 'fashion-mnist-mini', 'num_train': 1024, 'num_test': 5000}
    """
    require(purpose, ("law", "collapse"), "purpose")
    chosen = PresetName(
        network=name,
        parameterization=parameterization,  # type: ignore[arg-type]  # checked there
        normalization=normalization,  # type: ignore[arg-type]
        purpose=purpose,  # type: ignore[arg-type]
    )
    return fields_of(chosen, size=size, data=data)


def fields_of(
    name: PresetName, *, size: str, data: str | None = None, first_seed: int = 0
) -> dict[str, Any]:
    """As :func:`preset`, of a name that is known to be one, with seeds from the first on.

    Raises:
        InputError: if there is no such size or data, or the networks do not go with the data.
    """
    require(size, SIZES, "size")
    data = DEFAULT_DATA if data is None else data
    require(data, DATA, "data")
    network, region = NETWORKS[name.network], REGIONS[name.region_key]
    if not DATA[data].images and network.kind != "mlp":
        raise InputError(
            f"{name.network} needs images, and {data} holds signals; choose "
            f"{', '.join(key for key, value in DATA.items() if value.images)}"
        )
    if name.purpose not in purposes(network):
        raise InputError(f"there is no collapse preset for {name.network}; choose mlp-1")
    extent = network.extents[size]
    fields: dict[str, Any] = {
        "title": _title(name, network, size, data),
        "family": _family(name, network, extent),
        "data": _data(data, size, extent),
    }
    build = _collapse if name.purpose == "collapse" else _law
    return fields | build(region, extent, first_seed)


def require(value: str, known: Any, what: str) -> None:
    """Refuse a name that is not one of those known, with the nearest.

    Raises:
        InputError: naming all of them.
    """
    if value in known:
        return
    near = get_close_matches(value, list(known), n=1)
    raise InputError(
        f"unknown {what} {value!r}"
        + (f", did you mean {near[0]!r}?" if near else "")
        + f"; it must be one of {', '.join(known)}"
    )


def _title(name: PresetName, network: Network, size: str, data: str) -> str:
    norm = ", batch norm" if name.normalization == "batch" else ""
    purpose = "; equal noise scales" if name.purpose == "collapse" else ""
    parameterization = {"standard": "standard", "ntk": "NTK"}[name.parameterization]
    return f"{network.words}, {parameterization} parameterization{norm}, {data}, {size}{purpose}"


def _family(name: PresetName, network: Network, extent: Extent) -> dict[str, Any]:
    fields = {
        "kind": network.kind,
        "parameterization": name.parameterization,
        "base_width": extent.base_width,
        "depth": extent.depth,
    }
    return fields | ({"normalization": "batch"} if name.normalization == "batch" else {})


def _data(data: str, size: str, extent: Extent) -> dict[str, Any]:
    source = DATA[data]
    fields: dict[str, Any] = {"name": source.bundled if size == "minutes" else source.name}
    if extent.num_train is not None:
        fields["num_train"] = min(extent.num_train, source.num_train)
    if extent.num_test is not None:
        fields["num_test"] = min(extent.num_test, source.num_test)
    return fields


def _training(region: Region, extent: Extent, physical_time: float) -> dict[str, Any]:
    training: dict[str, Any] = {
        "physical_time": physical_time * extent.longer,
        "evaluations": extent.evaluations,
    }
    return training | (
        {"ghost_batch_size": region.ghost_batch_size} if region.ghost_batch_size else {}
    )


def _packing(extent: Extent) -> dict[str, Any]:
    return {} if extent.pack is None else {"packing": {"size": extent.pack}}


def _law(region: Region, extent: Extent, first_seed: int) -> dict[str, Any]:
    octaves = region.octaves + extent.lower_octaves
    grid = {
        "widening_factor": list(extent.widening_factors),
        "normalized_noise_scale": {
            "from": region.highest / 2.0**octaves,
            "to": region.highest,
            "num": region.per_octave * octaves + 1,
        },
        # A quarter of it is used. Fixed, so that nothing has to be measured and all widths have
        # the same largest learning rate: they differ in batch size.
        "max_stable_learning_rate": 4.0 * region.learning_rate,
    }
    search = {
        "exponent_precision": extent.exponent_precision,
        "precision": _PRECISION,
        "max_runs": extent.max_runs,
        "max_seeds": extent.max_seeds,
        **({"first_seed": first_seed} if first_seed else {}),
        "runs_at_once": extent.runs_at_once,
        "seeds_at_once": extent.seeds_at_once,
    }
    return {
        "grid": grid,
        "search": search,
        "training": _training(region, extent, region.physical_time),
        **_packing(extent),
    }


def _collapse(region: Region, extent: Extent, first_seed: int) -> dict[str, Any]:
    levels = region.collapse
    assert levels is not None, "of every multilayer perceptron"
    grids = [
        {
            "widening_factor": list(extent.collapse_widths),
            "learning_rate": rate * (1.0 - momentum),
            "batch_size": [round(rate / ratio) for ratio in levels.rate_over_batch],
            "momentum": momentum,
            "seeds": list(range(first_seed, first_seed + extent.collapse_seeds)),
        }
        for momentum, rates in levels.effective_rates.items()
        for rate in rates
    ]
    return {
        "grid": grids,
        "training": _training(region, extent, levels.physical_time),
        **_packing(extent),
    }


def dump(fields: Mapping[str, Any]) -> str:
    """Plain values, then tables, then arrays of tables; None is left out.

    >>> print(dump({"title": "a", "grid": [{"seeds": 2}], "data": {"num_train": 8, "path": None}}))
    title = "a"
    <BLANKLINE>
    [data]
    num_train = 8
    <BLANKLINE>
    [[grid]]
    seeds = 2
    """
    plain = {key: value for key, value in fields.items() if not _is_table(value)}
    tables = [(key, value) for key, value in fields.items() if isinstance(value, Mapping)]
    arrays = [
        (key, child)
        for key, value in fields.items()
        if isinstance(value, list) and _is_table(value)
        for child in value
    ]
    parts = [
        _lines(plain),
        *(f"[{key}]\n{_lines(table)}" for key, table in tables),
        *(f"[[{key}]]\n{_lines(table)}" for key, table in arrays),
    ]
    return "\n\n".join(part for part in parts if part)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
    )


def _lines(table: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{key} = {_value(value)}" for key, value in table.items() if value is not None
    )


def _value(value: Any) -> str:
    """One value.

    >>> _value([1, 2.5]), _value({"from": 1, "num": 3}), _value(True), _value("ḡ")
    ('[1, 2.5]', '{from = 1, num = 3}', 'true', '"ḡ"')
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(child) for child in value) + "]"
    return json.dumps(value, ensure_ascii=False)
