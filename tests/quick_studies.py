"""What tests of studies leave out in their own process, because other tests are for it.

A study of a few steps is trained in milliseconds. Drawing its figures, timing its steps beforehand
and proving every engine anew take a hundred times that. tests/report draws, tests/engines proves,
tests/study/test_timing.py times. Whatever runs in a process of its own does all of it.
"""

import pytest
from torch import nn

from widthwise.engines.proof import prove
from widthwise.study.timing import Speed

_SECONDS_PER_STEP, _SECONDS_PER_FLOP = 1e-4, 1e-10


def kind_of(build, modules, inputs, recipe):
    """Equal for modules that compute the same in the same engine, whatever their weights."""
    module: nn.Module = modules[0]
    code = tuple(type(part).forward.__code__ for part in module.modules())
    state = tuple((name, tensor.shape) for name, tensor in module.state_dict().items())
    (engine,) = (cell.cell_contents for cell in build.__closure__ if callable(cell.cell_contents))
    return repr(module), code, state, engine.__code__, inputs.shape, inputs.dtype, repr(recipe)


_PROVED: set[object] = set()


def leave_out_drawing(patch):
    patch.setattr("widthwise.report.page._encode", lambda figure, kind: b"<svg/>")


def leave_out_timing(patch):
    def speed(context, schedule):
        return Speed(_SECONDS_PER_STEP, _SECONDS_PER_FLOP)

    patch.setattr("widthwise.study.running.measure_speed", speed)


def prove_once(patch):
    """Networks of one kind prove their engine once; what fails is never remembered."""

    def once(build, modules, inputs, targets, recipe, seeds, coarsest=None):
        kind = kind_of(build, modules, inputs, recipe)
        if kind not in _PROVED:
            prove(build, modules, inputs, targets, recipe, seeds, coarsest)
            _PROVED.add(kind)

    patch.setattr("widthwise.engines.build.prove", once)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    leave_out_drawing(monkeypatch)


@pytest.fixture(autouse=True)
def untimed(monkeypatch):
    leave_out_timing(monkeypatch)


@pytest.fixture(autouse=True)
def proved_once(monkeypatch):
    prove_once(monkeypatch)
