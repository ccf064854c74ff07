"""What a plan says and exports: text, JSON, and the keyword arguments of other software."""

import json
import textwrap

import pytest
import torch
from adviser_samples import MeasuredNoise, MeasuredRate, MeasuredRateLaw, law, widen
from torch import nn

from widthwise.adviser import Plan
from widthwise.conversion import mup_module, mup_parameter_groups
from widthwise.errors import InputError
from widthwise.probes import StabilityLaw, StableLearningRate


def ask(**changes):
    given = {
        "learning_rate": 0.1,
        "batch_size": 32,
        "momentum": 0.9,
        "widening_factor": 4,
        "parameterization": "ntk",
        "keep": "batch_size",
        "init_variance": 1.0,
    }
    return widen(**{**given, **changes})


def network(width):
    return nn.Sequential(
        nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    )


def explained(plan):
    return plan.explain()


def words(plan):
    """The explanation without its line breaks."""
    return " ".join(plan.explain().split())


class TestExplanation:
    def test_everything_is_there(self):
        plan = ask(
            keep="learning_rate",
            max_stable_learning_rate=0.8,
            stability_exponent=0.5,
            gradient_noise=MeasuredNoise(value=412.0, interval=(300.0, 600.0)),
        )
        text = words(plan)
        for said in (
            "SGD for a network 4 times as wide (NTK parameterization)",
            "learning rate 0.1 0.1",
            "batch size 32 8",
            "momentum 0.9 0.9",
            "normalized noise scale ḡ 0.03125 0.125",
            "Training on small random batches",  # for those who have not read the paper
            "the variance σ_init² of the initial weights",
            "The ḡ that generalizes best grows as w^1, here by 4.",
            "arXiv:1905.03776",
            "How far to trust it: supported by the paper",
            "found w^0.25 to w^0.60, which would set B = 13 to 22: 0 of 7 agree with w^1.",
            "The largest batch that is still optimal",
            "From widening factor 4 on the base's batch size, 32, is above it.",
            "0.1*",
            "keep everything: optimizes nothing",
            "arXiv:2203.03466",
            "arXiv:1706.02677",
            "arXiv:1404.5997",
            "arXiv:2410.21676",
            "Gradient noise scale tr(Σ)/|G|² (McCandlish et al. 2018)",
            "412 examples (300 to 600). This is another quantity than ḡ",
        ):
            assert said in text, said

    def test_what_gave_way_is_said_first_and_aloud(self):
        text = explained(ask(max_stable_learning_rate=0.6, max_stable_at=4))
        section = text[text.index("How far to trust it: extrapolated") :]
        assert section.splitlines()[2].startswith("* WARNING: At batch size 32 the rule needs")

    def test_marks(self):
        # ε = 0.125 · B · (1 − m); a quarter of 0.6 is 0.15, at B = 12 and m = 0.9.
        plan = ask(max_stable_learning_rate=0.6, max_stable_at=4)
        rows = [line.split() for line in plan.explain().splitlines()]
        assert ["8", "1!", "0.1"] in rows
        assert ["12", "1.5!", "0.15*"] in rows
        assert ["4", "0.5?", "0.05"] in rows
        assert ["32", "4!", "0.4?"] in rows
        assert ["64", "8!", "0.8!"] in rows
        said = words(plan)
        assert "? above 25% of the largest stable learning rate: a long run may diverge" in said
        assert "! above the largest stable learning rate" in said
        assert "At smaller batches or more momentum it may be smaller." in said
        assert "of what the rule asks for" not in said

    def test_marks_that_do_not_occur_are_not_explained(self):
        said = words(ask(max_stable_learning_rate=1000.0, max_stable_at=4, max_batch_size=64))
        assert "a long run may diverge" not in said
        assert "! above" not in said
        assert "At smaller batches or more momentum it may be smaller." in said
        unknown = words(ask())
        assert "it is not known which are stable" in unknown
        assert "may be smaller" not in unknown

    def test_the_largest_batch_is_marked_as_near_the_limit(self):
        # 0.6/0.0125 = 48 at m = 0.9
        plan = ask(keep="largest_batch", max_stable_learning_rate=0.6, max_stable_at=4)
        assert "0.6*?" in plan.explain()

    def test_noise_that_is_missing_is_printed(self):
        # B = 1 needs 0.0125; a quarter of 0.04 is 80 % of it.
        plan = ask(max_stable_learning_rate=0.04, max_stable_at=4)
        said = words(plan)
        assert "noise that is reached 80 % of what the rule asks for" in said
        assert "None" not in said
        content = plan.to_dict()
        assert content["noise_reached"] == pytest.approx(0.8)
        assert content["usable_share"] == 0.25
        assert {c["usable"] for c in content["choices"]} == {True, False}

    def test_intervals_are_shown(self):
        text = words(ask(widening_factor=16, law=law()))
        assert "learning rate 0.1 0.4 (0.2 to 0.8)" in text
        assert "exponent 0.50 (95 % interval 0.25 to 0.75)" in text
        assert "your study: exponent 0.50 (0.25 to 0.75)" in text

    def test_commands_are_not_broken(self):
        text = explained(
            ask(normalization="layer", build="a_long_folder/of_my_networks.py:build_it")
        )
        lines = text.splitlines()
        probe = "widthwise probe a_long_folder/of_my_networks.py:build_it --spec SPEC.toml"
        probe += " --widths 1,4 --batch-size 32"
        assert f"  Measure it:  {probe} --momentum 0.9" in lines
        calibrate = "widthwise calibrate SPEC.toml --learning-rate 0.1 --batch-size 32"
        assert f"  Measure it:  {calibrate} --momentum 0.9 --factor 4" in lines

    def test_it_fits_a_terminal(self):
        text = explained(ask(max_stable_learning_rate=0.8, stability_exponent=0.5))
        assert max(map(len, text.splitlines())) <= 100
        assert "None" not in text
        assert "nan" not in text

    @pytest.mark.parametrize(
        ("parameterization", "said"),
        [
            ("standard", "ε/(B(1−m)) stays as it is, because σ_init² already falls as 1/w."),
            ("default", "ε/(B(1−m)) stays as it is, because σ_init² already falls as 1/w."),
            ("ntk", "grows in proportion to w, because σ_init² does not change. Here it changes"),
            ("mup", "under µP every layer's ḡ grows in proportion to w by itself"),
        ],
    )
    def test_every_parameterization_has_its_reason(self, parameterization, said):
        assert said in words(ask(parameterization=parameterization))

    def test_a_setting_that_was_kept_is_the_users_choice(self):
        reasons = {r.quantity: r for r in ask(keep="learning_rate").reasons}
        assert reasons["momentum"].source == "your choice, keep='learning_rate'"
        assert reasons["batch_size"].source == "ε = ḡ σ_init² B (1−m), solved"
        assert "from 32 to 8" in reasons["batch_size"].text


class TestJson:
    def plan(self):
        return ask(
            widening_factor=16,
            law=law(),
            max_stable_learning_rate=MeasuredRate(
                value=0.3, interval=(0.2, float("inf")), widening_factor=16.0, momentum=0.9
            ),
            gradient_noise=MeasuredNoise(value=412.0, interval=(300.0, 600.0)),
            num_train=1024,
            epochs=100,
        )

    def test_it_has_every_field(self):
        content = self.plan().to_dict()
        assert set(content) == {*Plan.__dataclass_fields__, "warnings"}
        assert content["base"] == {"learning_rate": 0.1, "batch_size": 32, "momentum": 0.9}
        assert len(content["rivals"]) == 5
        assert {r["quantity"] for r in content["reasons"]} == {
            "learning_rate",
            "batch_size",
            "momentum",
            "noise_scale",
            "normalized_noise_scale",
            "ceiling",
        }

    def test_it_is_json_and_open_ends_are_null(self):
        content = self.plan().to_dict()
        assert json.loads(json.dumps(content, allow_nan=False)) == content
        assert content["ceiling"]["max_stable_interval"] == [0.2, None]
        assert content["ceiling"]["max_stable_batch_size"] == 32
        assert content["ceiling"]["max_stable_momentum"] == 0.9

    def test_reasons_have_sources(self):
        assert all(reason.text and reason.source for reason in self.plan().reasons)


class TestExports:
    def test_torch(self):
        plan = ask(weight_decay=1e-4)
        module = network(8)
        groups = plan.parameter_groups(module)
        optimizer = torch.optim.SGD(groups, **plan.optimizer_kwargs())
        (group,) = optimizer.param_groups
        assert group["lr"] == plan.learning_rate
        assert group["momentum"] == 0.9
        assert group["dampening"] == 0.0
        assert group["weight_decay"] == 1e-4
        assert len(group["params"]) == 6

    def test_frozen_parameters_are_left_out(self):
        module = network(8)
        module[0].weight.requires_grad_(False)
        (group,) = ask().parameter_groups(module)
        assert len(group["params"]) == 5

    def test_mup_has_the_rates_of_musgd(self):
        """As widthwise.conversion gives them, whose oracle is the mup package."""
        base, wide = network(16), network(64)
        wide = mup_module(wide, base)
        plan = widen(
            learning_rate=0.1,
            batch_size=32,
            momentum=0.9,
            weight_decay=1e-3,
            base=base,
            target=wide,
            parameterization="mup",
            widening_factor=4,
        )
        optimizer = torch.optim.SGD(plan.parameter_groups(wide), **plan.optimizer_kwargs())
        expected = mup_parameter_groups(
            wide, base, learning_rate=0.1, momentum=0.9, weight_decay=1e-3
        )

        def settings(groups):
            return {
                id(p): (g["lr"], g["momentum"], g["weight_decay"])
                for g in groups
                for p in g["params"]
            }

        found, wanted = settings(optimizer.param_groups), settings(expected)
        assert found.keys() == wanted.keys()
        for key, values in wanted.items():
            assert found[key] == pytest.approx(values, rel=1e-12)
        assert len(plan.layer_rates) == 2
        assert "The rates differ by layer" in " ".join(str(plan).split())
        assert "differs by layer" in plan.explain()
        with pytest.raises(InputError, match=r"it lacks .*; the plan has no rate for"):
            plan.parameter_groups(nn.Linear(2, 2))
        with pytest.raises(InputError, match="one learning rate"):
            plan.training_arguments()

    def test_hugging_face(self):
        plan = ask(epochs=30, weight_decay=1e-4)
        assert plan.training_arguments(num_devices=4, gradient_accumulation_steps=2) == {
            "optim": "sgd",
            "optim_args": "momentum=0.9",
            "learning_rate": plan.learning_rate,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "weight_decay": 1e-4,
            "warmup_steps": 0,
            "max_grad_norm": 0.0,
            "lr_scheduler_type": "constant",
            "num_train_epochs": 30,
        }
        assert "optim_args" not in ask(momentum=0.0).training_arguments()
        assert "lr_scheduler_type" not in ask(schedule="step").training_arguments()

    @pytest.mark.parametrize(("devices", "steps"), [(3, 1), (0, 1), (1, 64), (1, 0)])
    def test_hugging_face_batches_must_divide(self, devices, steps):
        with pytest.raises(InputError, match="must be a multiple"):
            ask().training_arguments(num_devices=devices, gradient_accumulation_steps=steps)

    def test_lightning(self):
        plan = ask(epochs=30)
        assert plan.lightning_kwargs() == {
            "optimizer": plan.optimizer_kwargs(),
            "dataloader": {"batch_size": 32, "shuffle": True},
            "trainer": {"gradient_clip_val": None, "accumulate_grad_batches": 1, "max_epochs": 30},
        }


class TestRealModules:
    def test_default_initialization_is_read_off(self):
        torch.manual_seed(0)
        plan = widen(
            learning_rate=0.1, batch_size=32, base=network(64), target=network(256), epochs=100
        )
        assert (plan.widening_factor, plan.parameterization) == (4.0, "default")
        assert any("0.weight" in name for name in plan.not_widened)
        assert "Not widened: 0.weight" in words(plan)

    def test_a_contradiction_is_found(self):
        with pytest.raises(InputError, match="contradicts the modules"):
            widen(
                learning_rate=0.1,
                batch_size=32,
                base=network(64),
                target=network(256),
                widening_factor=2,
            )


def test_stand_ins_have_what_the_real_values_have():
    """The probe's own types carry every field that the adviser reads."""
    for name in ("value", "interval", "widening_factor", "momentum", "batch_size"):
        assert name in StableLearningRate.__dataclass_fields__
        assert name in MeasuredRate.__dataclass_fields__
    for name in ("exponent", "interval"):
        assert name in StabilityLaw.__dataclass_fields__
        assert name in MeasuredRateLaw.__dataclass_fields__
    assert callable(StabilityLaw.predict)


def test_texts_are_not_indented_by_accident():
    for text in (str(ask()), ask().explain()):
        assert text == textwrap.dedent(text)
