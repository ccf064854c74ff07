"""The regime gate, row by row: what lowers the evidence, what is refused, what to measure."""

from dataclasses import replace

import pytest
from adviser_samples import MeasuredRate, MeasuredRateLaw, law, widen

from widthwise.adviser import AdviceRefusedError
from widthwise.adviser.cautions import CAUTIONS
from widthwise.errors import FitError, InputError

EXTRAPOLATED = "extrapolated"
CONTRADICTED = "contradicted by published work"
CONV = {"normalization": "batch", "convolutional": True}


def ask(**changes):
    given = {
        "learning_rate": 0.1,
        "batch_size": 32,
        "widening_factor": 4,
        "parameterization": "standard",
        "normalization": "none",
        "epochs": 100,
        "num_train": 10_000,
    }
    return widen(**{**given, **changes})


def conditions(plan):
    return [finding.condition for finding in plan.findings]


# condition, what brings it about, grade, words of the text, the command it suggests
LOWERED = [
    (
        "optima cut off by divergence",
        {"law": law(num_cut_off=2)},
        EXTRAPOLATED,
        "At 2 of 3 widths",
        "widthwise probe",
    ),
    (
        "doubts of the study",
        {"law": replace(law(), doubts=("settings were run with 2 seeds only",))},
        EXTRAPOLATED,
        "is weak: settings were run with 2 seeds only.",
        None,
    ),
    (
        "weight decay with normalization",
        {"normalization": "layer", "weight_decay": 1e-4},
        CONTRADICTED,
        "σ_init is forgotten",
        "widthwise calibrate",
    ),
    ("batch norm in a ConvNet", CONV, CONTRADICTED, "does not grow", "widthwise calibrate"),
    (
        "batch norm in a ConvNet",
        {"normalization": "batch"},
        CONTRADICTED,
        "no convolutions, say convolutional=False",
        "widthwise calibrate",
    ),
    (
        "batch norm in a ResNet",
        {**CONV, "residual": True},
        EXTRAPOLATED,
        "similar trend",
        "widthwise calibrate",
    ),
    (
        "batch norm elsewhere",
        {"normalization": "batch", "convolutional": False},
        EXTRAPOLATED,
        "not part of the paper",
        "widthwise calibrate",
    ),
    (
        "other normalization",
        {"normalization": "rms"},
        EXTRAPOLATED,
        "RMS norm was not part",
        "widthwise calibrate",
    ),
    (
        "other normalization",
        {"normalization": "mixed"},
        EXTRAPOLATED,
        "Normalization was not part",
        "widthwise calibrate",
    ),
    (
        "weight decay",
        {"weight_decay": 1e-4},
        EXTRAPOLATED,
        "left as it is",
        "widthwise calibrate",
    ),
    ("schedule", {"schedule": "cosine"}, EXTRAPOLATED, "peak rate", "widthwise calibrate"),
    ("few epochs", {"epochs": 5}, EXTRAPOLATED, "late times", "widthwise calibrate"),
    ("narrowing", {"widening_factor": 0.5}, EXTRAPOLATED, "narrower", "widthwise calibrate"),
    ("far wider", {"widening_factor": 17}, EXTRAPOLATED, "beyond 16", "widthwise calibrate"),
    ("µP", {"parameterization": "mup"}, EXTRAPOLATED, "did not measure µP", "widthwise calibrate"),
    ("batch near the data", {"num_train": 319}, EXTRAPOLATED, "more than a tenth", None),
    (
        "base above the stable range",
        {"max_stable_learning_rate": 0.05},
        EXTRAPOLATED,
        "One of the two",
        "widthwise probe",
    ),
    (
        "batch below 1 or learning rate above the stable range",
        {"max_stable_learning_rate": 0.05, "max_stable_at": 4, "keep": "batch_size"},
        EXTRAPOLATED,
        "what had to give way: batch size",
        "widthwise probe",
    ),
    (
        "learning rate not known to be stable",
        {"parameterization": "ntk", "keep": "batch_size"},
        EXTRAPOLATED,
        "A learning rate of 0.4 is above 0.1, the largest that is known to be stable",
        "widthwise probe",
    ),
    (
        "beyond the study",
        {"law": law(), "widening_factor": 32},
        EXTRAPOLATED,
        "ran widening factors 1 to 16",
        "widthwise calibrate",
    ),
    (
        "beyond the study",
        {"law": law(interval=(0.0, float("inf")))},
        EXTRAPOLATED,
        "does not bound",
        "widthwise calibrate",
    ),
    (
        "depth in the study",
        {"law": law(), "depth_changed": True},
        EXTRAPOLATED,
        "changed its depth in the same way",
        None,
    ),
]
REFUSED = [
    ("optimizer", {"optimizer": "AdamW"}, "adamw", "widthwise analyze runs.csv"),
    ("one epoch", {"epochs": 1}, "no regularizer", "widthwise probe SPEC.toml --widths 1,4"),
    ("one epoch", {"epochs": 0.3}, "no regularizer", "widthwise probe"),
    (
        "depth",
        {"depth_changed": True},
        "width alone",
        "widthwise calibrate SPEC.toml --learning-rate 0.1 --batch-size 32 --factor 4",
    ),
]


def test_the_papers_own_case_is_supported():
    plan = ask()
    assert plan.evidence == "supported by the paper"
    assert plan.findings == ()
    assert plan.assumptions == ()


@pytest.mark.parametrize(("condition", "given", "grade", "words", "command"), LOWERED)
def test_lowered(condition, given, grade, words, command):
    plan = ask(**given)
    assert condition in conditions(plan)
    found = next(f for f in plan.findings if f.condition == condition)
    assert plan.evidence == grade == found.effect
    assert words in found.text
    assert found.source
    assert found.measure is None if command is None else found.measure.startswith(command)
    assert found.text in plan.warnings


@pytest.mark.parametrize(("condition", "given", "words", "command"), REFUSED)
def test_refused(condition, given, words, command):
    with pytest.raises(AdviceRefusedError, match=words) as refused:
        ask(**given)
    (found,) = refused.value.findings
    assert found.condition == condition
    assert found.effect == "refuse"
    assert found.measure.startswith(command)
    assert found.measure in str(refused.value)
    assert refused.value.to_dict()["findings"][0]["condition"] == condition
    assert isinstance(refused.value, FitError)  # exit code 1


def test_every_row_is_tried():
    assert {row[0] for row in (*LOWERED, *REFUSED)} == {row.name for row in CAUTIONS}


@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": "SGD"},
        {"epochs": 30},
        {"schedule": "Constant"},
        {"widening_factor": 16},
        {"widening_factor": 1},
        {"num_train": 320},
        {"normalization": "none", "convolutional": True},
        {"max_stable_learning_rate": 0.1, "stability_exponent": 0},
        {"parameterization": "default"},
        {"parameterization": "ntk"},
    ],
)
def test_just_inside(given):
    assert ask(**given).evidence == "supported by the paper"


def test_all_refusals_come_at_once():
    with pytest.raises(AdviceRefusedError) as refused:
        ask(optimizer="adam", epochs=1, depth_changed=True)
    assert [f.condition for f in refused.value.findings] == ["optimizer", "one epoch", "depth"]


def test_what_is_refused_is_asked_nothing():
    with pytest.raises(AdviceRefusedError, match="SGD"):
        ask(optimizer="adam", keep="largest_batch")


@pytest.mark.parametrize("unknown", ["parameterization", "widening_factor"])
def test_of_what_is_refused_nothing_else_need_be_known(unknown):
    with pytest.raises(AdviceRefusedError, match="adamw") as refused:
        ask(optimizer="AdamW", **{unknown: None})
    assert refused.value.findings[0].measure.startswith("widthwise analyze")
    with pytest.raises(InputError, match=f"Give {unknown}"):
        ask(optimizer="SGD", **{unknown: None})


def test_the_worst_finding_decides():
    plan = ask(**CONV, schedule="cosine", widening_factor=0.5)
    assert plan.evidence == CONTRADICTED
    assert conditions(plan) == ["batch norm in a ConvNet", "schedule", "narrowing"]


class TestOwnStudy:
    def test_measured_where_it_covers_the_width(self):
        plan = ask(law=law(), widening_factor=16)
        assert plan.evidence == "measured by your study"
        assert any("It counts for networks trained as" in note for note in plan.notes)

    def test_it_settles_what_it_trained_with(self):
        plan = ask(law=law(), **CONV, schedule="cosine", weight_decay=1e-4, epochs=3)
        assert plan.evidence == "measured by your study"
        assert plan.findings == ()

    def test_it_settles_nothing_if_it_bounds_nothing(self):
        plan = ask(law=law(interval=(float("-inf"), 0.5)), **CONV)
        assert plan.evidence == CONTRADICTED

    def test_it_extrapolates_beyond_its_widths(self):
        assert conditions(ask(law=law(), **CONV, widening_factor=32)) == ["beyond the study"]
        assert conditions(ask(law=law(widening_factors=(2.0, 4.0)))) == ["beyond the study"]

    def test_it_does_not_settle_adam(self):
        with pytest.raises(AdviceRefusedError, match="SGD"):
            ask(law=law(), optimizer="adam")


class TestQuestions:
    def test_what_was_not_said_is_taken_for_granted_aloud(self):
        plan = ask(epochs=None, normalization=None, num_train=None)
        said = " ".join(plan.assumptions)
        for name in ("say epochs", "say normalization", "say num_train"):
            assert name in said

    def test_convolutional_and_residual_are_asked_for(self):
        (finding,) = ask(normalization="batch").findings
        assert "say convolutional=False" in finding.text
        assert "say residual=True" in finding.text
        (finding,) = ask(normalization="batch", convolutional=True, residual=False).findings
        assert "say " not in finding.text


class TestNotes:
    @pytest.mark.parametrize(
        ("parameterization", "words"),
        [
            ("ntk", "studies of NTK networks (7, MLPs) found w^0.25 to w^0.60"),
            ("standard", "studies of standard networks (2, MLPs) found w^0.96 to w^1.15: 2 of 2"),
            ("default", "studies of standard networks (2, MLPs) found w^0.96 to w^1.15: 2 of 2"),
            ("mup", "Widthwise has not measured the exponent in this parameterization"),
        ],
    )
    def test_an_honest_word_on_the_exponent(self, parameterization, words):
        said = " ".join(ask(parameterization=parameterization).notes)
        assert words in said
        assert "widthwise calibrate" in said

    def test_another_momentum_than_the_probes(self):
        rate = MeasuredRate(value=0.5, interval=(0.4, 0.6), widening_factor=4.0, momentum=0.9)
        assert "measured at momentum 0.9" in " ".join(ask(max_stable_learning_rate=rate).notes)
        same = ask(max_stable_learning_rate=rate, momentum=0.9)
        assert "measured at momentum" not in " ".join(same.notes)
        solved = ask(
            max_stable_learning_rate=5,
            max_stable_at=4,
            parameterization="ntk",
            keep="learning_rate_and_batch_size",
        )
        assert "the plan's is 0.75" in " ".join(solved.notes)

    def test_another_batch_size_than_the_probes(self):
        # Standard keeps g = 0.003125; a quarter of 0.2 is 0.05, at B = 16.
        rate = {"value": 0.2, "interval": (0.1, 0.3), "widening_factor": 4.0}

        def said(**given):
            return " ".join(ask(**given).notes)

        larger = said(max_stable_learning_rate=MeasuredRate(**rate, batch_size=17))
        assert "was measured at batches of 17; the plan has 16." in larger
        assert "bear less, at worst in proportion" in larger
        assert "widthwise probe … --batch-size 16" in larger
        same = said(max_stable_learning_rate=MeasuredRate(**rate, batch_size=16))
        smallest = said(max_stable_learning_rate=MeasuredRate(**rate, batch_size=1))
        assert "at batches of" not in same + smallest
        # A bare number is taken to hold at the base's 32.
        bare = said(max_stable_learning_rate=0.2, max_stable_at=4)
        assert "is taken to have been measured at batches of 32; the plan has 16." in bare
        # Unless it is said where it was measured; a law says no more than a number.
        told = {"max_stable_learning_rate": 0.2, "max_stable_at": 4}
        assert "at batches of" not in said(**told, max_stable_batch_size=1)
        assert "was measured at batches of 64" in said(**told, max_stable_batch_size=64)
        falling = MeasuredRateLaw(exponent=1.0, interval=(0.9, 1.1))
        assert "at batches of" in said(stability_exponent=falling)
        assert "at batches of" not in said(stability_exponent=falling, max_stable_batch_size=1)
        with pytest.raises(InputError, match="max_stable_batch_size must be at least 1, got 0"):
            said(**told, max_stable_batch_size=0)
        assert "at batches of" not in said(max_stable_learning_rate=0.4, max_stable_at=4)
        assert "at batches of" not in said()

    def test_near_the_largest_stable_rate(self):
        # The base is at half of it, and so is the plan.
        near = ask(max_stable_learning_rate=0.2, stability_exponent=0)
        assert "50% of the largest stable one" in " ".join(near.notes)
        assert "choose a smaller batch" in " ".join(near.notes)
        alone = ask(batch_size=1, max_stable_learning_rate=0.2, stability_exponent=0)
        assert "50% of the largest stable one" in " ".join(alone.notes)
        assert "choose a smaller batch" not in " ".join(alone.notes)
        safe = ask(max_stable_learning_rate=0.4, max_stable_at=4)
        assert "of the largest stable one" not in " ".join(safe.notes)


@pytest.mark.parametrize("convolutional", [None, False, True])
@pytest.mark.parametrize("residual", [None, False, True])
@pytest.mark.parametrize("normalization", ["batch", "layer", "group", "instance", "rms", "mixed"])
def test_no_normalized_network_is_supported_by_the_paper(normalization, convolutional, residual):
    """Whatever else is said of it, or left unsaid."""
    plan = ask(normalization=normalization, convolutional=convolutional, residual=residual)
    assert plan.evidence in ("extrapolated", "contradicted by published work")
    if normalization == "batch" and residual is not True and convolutional is not False:
        assert plan.evidence == "contradicted by published work"
