"""What the README of 0.1.0 shows still works, with a warning where names have changed; and what
0.1.0 accepted and gave is accepted and given.

Both files go, with this test, when the deprecated names do.
"""

import inspect
import re
import tomllib
import warnings
from pathlib import Path

import pytest
import torch
from pages import blocks, command_lines
from test_commands import COMMANDS, problem
from torch import nn

import widthwise as ww
from widthwise.runs.schema import RESULTS_SCHEMA

OLD = (Path(__file__).parent / "readme_0.1.0.md").read_text(encoding="utf-8")
INTERFACE = tomllib.loads(
    (Path(__file__).parent / "interface_0.1.0.toml").read_text(encoding="utf-8")
)
OLD_SPELLINGS = {"--widening-factor": "--factor"}
LINES = [line for line in command_lines(OLD) if len(line.split()) > 2]


def block(language: str, containing: str) -> str:
    (found,) = [b.text for b in blocks(OLD) if b.language == language and containing in b.text]
    return found


def test_there_are_command_lines():
    assert len(LINES) == 10


@pytest.mark.parametrize("line", LINES)
def test_command_lines_are_understood(line):
    assert problem(line) is None


def test_the_specification_means_the_same():
    spec = ww.StudySpec.parse(tomllib.loads(block("toml", "[grid]")))
    assert spec.grid[0].batch_size == (1, 2, 4, 8, 16, 32, 64)
    assert (spec.family.depth, spec.data.num_validation, spec.training.epochs) == (2, 1000, 300)


def test_the_training_options_are_taken():
    fields = tomllib.loads(block("toml", "nesterov"))
    fields["grid"] = {"widening_factor": 1, "learning_rate": 0.1, "batch_size": 32, "momentum": 0.9}
    spec = ww.StudySpec.parse(fields)
    assert spec.training.recipe.nesterov
    assert spec.training.recipe.ghost_batch_size == 16


def test_the_family_builds():
    namespace: dict[str, object] = {}
    exec(block("python", "def build"), namespace)
    assert namespace["build"](2)(torch.zeros(3, 28, 28)).shape == (3, 10)


def test_the_plan_is_had_and_read_as_shown():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        exec(block("python", "plan = ww.widen"), {})


def test_every_name_is_there():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        names = set(re.findall(r"\bww\.([A-Za-z_]+)", OLD))
        assert {name for name in names if not hasattr(ww, name)} == set()
    methods = set(re.findall(r"\bstudy\.(\w+)\(", OLD))
    assert methods == {"run", "results", "optima", "law", "report"}
    assert {name for name in methods if not hasattr(ww.Study, name)} == set()


@pytest.mark.parametrize("command", INTERFACE["options"])
def test_every_option_is_taken(command):
    known = {n for p in COMMANDS[command].params for n in (*p.opts, *p.secondary_opts)}
    spelled = {OLD_SPELLINGS.get(option, option) for option in INTERFACE["options"][command]}
    assert spelled - known == set()


def lost(function, old):
    """Arguments of `old` (in order, keyword-only ones after *) that cannot be given so."""
    parameters = inspect.signature(function).parameters
    split = old.index("*") if "*" in old else len(old)
    first, rest = old[:split], old[split + 1 :]
    places = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD and n != "self"]
    moved = [name for i, name in enumerate(first) if places[i : i + 1] != [name]]
    return moved + [name for name in rest if name not in parameters]


# These take some by **former or **options; a test of its own gives them.
BY_OTHER_MEANS = {"widen", "compare"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", sorted(INTERFACE["arguments"].keys() - BY_OTHER_MEANS))
def test_every_argument_is_taken_where_it_was(name):
    owner, _, method = name.partition(".")
    function = getattr(ww, owner)
    function = getattr(function, method) if method else function
    assert lost(function, INTERFACE["arguments"][name]) == []


def test_an_argument_that_is_lost_is_found():
    def function(first, second, *, third):
        pass

    assert lost(function, ["first", "second", "*", "third"]) == []
    assert lost(function, ["second", "first"]) == ["second", "first"]
    assert lost(function, ["first", "*", "fourth"]) == ["fourth"]
    assert lost(function, ["first", "second", "third"]) == ["third"]


FORMER = {
    "base": nn.Linear(20, 10),
    "target": nn.Linear(80, 10),
    "normalization": "none",
    "convolutional": False,
    "residual": False,
    "depth_changed": False,
    "build": "nets.py:build",
    "max_stable_learning_rate": 2.0,
    "max_stable_at": 1.0,
    "max_stable_batch_size": 32,
    "stability_exponent": 0.0,
    "num_train": 1024,
    "epochs": 50,
    "optimizer": "sgd",
    "schedule": "constant",
    "weight_decay": 0.0,
    "max_batch_size": 64,
    "gradient_noise": None,
}
NAMED = {
    "learning_rate": 0.1,
    "batch_size": 32,
    "momentum": 0.0,
    "widening_factor": 4,
    "parameterization": "default",
    "keep": "batch_size",
    "law": None,
}


def test_former_arguments_of_widen():
    old = set(INTERFACE["arguments"]["widen"]) - {"*"}
    assert FORMER.keys() | NAMED.keys() == old
    with pytest.warns(DeprecationWarning, match="single facts") as caught:
        plan = ww.widen(**NAMED, **FORMER)
    assert all(name in str(caught[0].message) for name in FORMER)
    network = ww.Network(
        modules=(FORMER["base"], FORMER["target"]),
        **{name: FORMER[name] for name in ("normalization", "convolutional", "residual", "build")},
    )
    stability = ww.Stability(
        **{name: FORMER[name] for name in FORMER if name.startswith(("max_stable", "stability"))}
    )
    training = ww.Training(num_train=1024, epochs=50, max_batch_size=64)
    new = ww.widen(**NAMED, network=network, stability=stability, training=training)
    assert plan.to_dict() == new.to_dict()
    assert set(INTERFACE["given"]["plan"]) - plan.to_dict().keys() == set()


def test_former_arguments_of_compare():
    networks = {name: FORMER[name] for name in ("base", "target")}
    options = {"learning_rate": 0.1, "batch_size": 32, "momentum": 0.0, "confidence": 0.99}
    assert {*networks, *options} == set(INTERFACE["arguments"]["compare"]) - {"*"}
    with pytest.warns(DeprecationWarning, match="inspect"):
        found = ww.compare(**networks, **options)
    assert found.to_dict() == ww.inspect(*networks.values(), **options).to_dict()


@pytest.mark.parametrize("name", INTERFACE["attributes"])
def test_every_attribute_is_there(name):
    kind = getattr(ww, name)
    fields = {*dir(kind), *getattr(kind, "__dataclass_fields__", ())}
    assert set(INTERFACE["attributes"][name]) - fields == set()


def test_results_have_every_column():
    assert set(INTERFACE["given"]["results"]) - RESULTS_SCHEMA.keys() == set()
