"""The part of a specification that says which networks."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from widthwise.errors import perhaps
from widthwise.families import (
    CNNFamily,
    MLPFamily,
    WideResNetFamily,
    WidthFamily,
    layers,
    user_family,
)
from widthwise.theory.parameterization import width_rule

_Count = Annotated[int, Field(ge=1)]
# Each layer is a module: a million of them fill the memory, however narrow they are.
_Depth = Annotated[int, Field(ge=1, le=10_000)]

# Kind → its family, whose fields are the keys that go with this kind and whose defaults are theirs.
_BUILT_IN: dict[str, type[Any]] = {
    "mlp": MLPFamily,
    "cnn": CNNFamily,
    "wide_resnet": WideResNetFamily,
}
# What others call them.
_OTHER_KINDS = {
    **dict.fromkeys(("convnet", "conv"), "cnn"),
    **dict.fromkeys(("resnet", "wrn"), "wide_resnet"),
    **dict.fromkeys(("dense", "fc", "fullyconnected", "feedforward"), "mlp"),
}
_OF_EVERY_KIND = {"input_shape", "num_classes", "parameterization"}


def _options(kind: str) -> dict[str, Any]:
    """Key → default of what this kind of family decides by itself; nothing for one's own."""
    if kind not in _BUILT_IN:
        return {}
    fields = dataclasses.fields(_BUILT_IN[kind])
    return {field.name: field.default for field in fields if field.name not in _OF_EVERY_KIND}


def _accepted_by(check: Callable[[str], object]) -> AfterValidator:
    """A name that ``check`` does not refuse."""

    def validate(name: str) -> str:
        check(name)
        return name

    return AfterValidator(validate)


class FamilySpec(BaseModel):
    """Which networks: a built-in ``kind``, or "module:function" (then only parameterization
    counts).

    A key left out (or None) gets the default of the kind; keys that the kind does not have stay
    None, are refused if they are given, and are left out of :meth:`model_dump`, so that the
    identity of a study does not depend on options of families that it does not use.

    Attributes: see :func:`widthwise.families.mlp`, :func:`widthwise.families.cnn`,
    :func:`widthwise.families.wide_resnet` and :class:`widthwise.families.UserFamily`.

    >>> FamilySpec(kind="cnn", depth=2).model_dump(exclude={"kind", "parameterization"})
    {'base_width': 8, 'depth': 2, 'bias': True, 'activation': 'relu', 'normalization': 'none',
     'pooling': 'max'}
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = "mlp"
    parameterization: Annotated[str, _accepted_by(width_rule)] = "standard"
    base_width: _Count | None = None
    depth: _Depth | None = None
    bias: bool | None = None
    activation: Annotated[str, _accepted_by(layers.activation)] | None = None
    normalization: Annotated[str, _accepted_by(partial(layers.norm, channels=1))] | None = None
    pooling: Annotated[str, _accepted_by(partial(layers.pool, size=2))] | None = None
    widen_stem: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        kind = given.get("kind", "mlp") if isinstance(given, Mapping) else None
        if not isinstance(kind, str):
            return given
        return _options(kind) | {key: value for key, value in given.items() if value is not None}

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.kind not in _BUILT_IN and ":" not in self.kind:
            raise ValueError(
                f"unknown family {self.kind!r}: kind must be one of {', '.join(_BUILT_IN)}, or "
                '"module:function" or "file.py:function" for a family of your own'
                f"{perhaps(self.kind, _BUILT_IN, _OTHER_KINDS)}"
            )
        if self.kind in _BUILT_IN:
            layers.require_drawn(self.parameterization)
        known = {"kind", "parameterization", *_options(self.kind)}
        foreign = [k for k, value in self if value is not None and k not in known]
        if foreign:
            owners = ", ".join(kind for kind in _BUILT_IN if foreign[0] in _options(kind))
            raise ValueError(
                f"{foreign[0]} belongs to the built-in families {owners}, not to {self.kind!r}; "
                "leave it out"
            )
        return self

    @model_serializer(mode="wrap")
    def _own_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if value is not None}

    def family(self, input_shape: tuple[int, ...], num_classes: int) -> WidthFamily:
        """The family, for data of this shape.

        Raises:
            InputError: if it cannot have networks for such data, or there is no such function.
        """
        if self.kind not in _BUILT_IN:
            user: WidthFamily = user_family(self.kind, self.parameterization)
            return user
        built: WidthFamily = _BUILT_IN[self.kind](
            input_shape=input_shape,
            num_classes=num_classes,
            parameterization=self.parameterization,
            **{key: getattr(self, key) for key in _options(self.kind)},
        )
        return built


def changed_options(spec: FamilySpec) -> dict[str, Any]:
    """Kind, parameterization, and the options that are not at their defaults, as plain values.

    >>> changed_options(FamilySpec(kind="cnn", depth=2))
    {'kind': 'cnn', 'parameterization': 'standard', 'depth': 2}
    """
    defaults = _options(spec.kind)
    fields = spec.model_dump(mode="json")
    return {k: v for k, v in fields.items() if k not in defaults or v != defaults[k]}
