"""Which data to use, as it stands in a study's specification."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from widthwise.data.preprocessing import Preprocessing
from widthwise.data.registry import entry


class DataSpec(BaseModel):
    """A data set and how to prepare it.

    Attributes:
        name: a name that `available` lists.
        path: file or folder, for data that lie on disk; None searches the usual places.
        num_train: training examples, class-balanced, a smaller set being part of a larger one;
            None takes all. "mnist1d" is generated at the size asked for, as published, where
            another size means other data.
        num_test: test examples, in the class proportions of the test set; None takes all.
        num_validation: examples held out from the training images that are not trained on.
        seed: decides which examples are taken and, for generated data, the data themselves. If
            left out it is 0, for "mnist1d" 42, the published value.
        preprocessing: "center-scale" removes the training mean of each coordinate, then divides
            by one number so that the training mean square is 1; "none" leaves the values, except
            that unsigned bytes are divided by 255.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "fashion-mnist-mini"
    path: str | None = None
    num_train: int | None = Field(default=None, ge=1)
    num_test: int | None = Field(default=None, ge=1)
    num_validation: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)
    preprocessing: Preprocessing = "center-scale"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return entry(name).name

    @model_validator(mode="before")
    @classmethod
    def _published_seed(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "seed" not in fields and fields.get("name") == "mnist1d":
            return {**fields, "seed": entry("mnist1d").default_seed}
        return fields
