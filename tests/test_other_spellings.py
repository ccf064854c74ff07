"""A name spelt otherwise is answered with the one that is known."""

import pytest

import widthwise as ww
from widthwise.adviser import Network
from widthwise.data import Dataset, DataSpec
from widthwise.errors import InputError
from widthwise.families import layers
from widthwise.study import StudySpec
from widthwise.theory.parameterization import width_rule


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("NTK", "ntk"),
        ("Standard", "standard"),
        ("muP", "mup"),
        ("µP", "mup"),  # U+00B5, the unit
        ("μP", "mup"),  # U+03BC, the letter
        ("Stàndard", "standard"),
        ("PyTorch", "default"),
        ("Kaiming", "standard"),
    ],
)
def test_another_spelling_is_answered_with_the_name(given, meant):
    with pytest.raises(InputError) as error:
        width_rule(given)
    assert str(error.value).endswith(f"got {given!r}; perhaps {meant}?")


@pytest.mark.parametrize("given", ["", "x" * 10**6, None, 3, "sgd"])
def test_what_resembles_nothing_is_answered_with_the_list_alone(given):
    with pytest.raises(InputError) as error:
        width_rule(given)
    assert "perhaps" not in str(error.value)


def spec(**tables):
    grid = {"widening_factor": 1, "learning_rate": 0.1, "batch_size": 4}
    return StudySpec.parse({"grid": grid, "training": {"steps": 8}, **tables})


TUNED = {"learning_rate": 0.1, "batch_size": 4, "widening_factor": 2}
# What is asked for → the name that is meant.
ELSEWHERE = {
    "keep": (lambda: ww.widen(**TUNED, parameterization="ntk", keep="batch size"), "batch_size"),
    "normalization": (lambda: Network(normalization="BatchNorm"), "batch"),
    "activation": (lambda: layers.activation("ReLU"), "relu"),
    "data": (lambda: DataSpec(name="MNIST1D"), "mnist1d"),
    "data that others call so": (lambda: DataSpec(name="FashionMNIST"), "fashion-mnist"),
    "preprocessing": (
        lambda: Dataset.of(([[0.0], [1.0]] * 4, [0, 1] * 4), preprocessing="Center_Scale"),
        "center-scale",
    ),
    "family": (lambda: spec(family={"kind": "ResNet"}), "wide_resnet"),
    "its parameterization": (lambda: spec(family={"parameterization": "NTK"}), "ntk"),
    "loss": (lambda: spec(training={"steps": 8, "loss": "CrossEntropy"}), "cross-entropy"),
    "a recipe's loss": (lambda: ww.Recipe(loss="cross_entropy"), "cross-entropy"),
}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_so_is_every_other_name(where):
    call, meant = ELSEWHERE[where]
    with pytest.raises(ValueError, match=rf"perhaps {meant}\?"):
        call()
