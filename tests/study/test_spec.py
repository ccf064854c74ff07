"""Specifications: forms in which they are written, and one line about what is wrong."""

import dataclasses
import json

import pytest
from tiny_studies import fields

from widthwise import families
from widthwise.errors import InputError
from widthwise.sgd.recipe import Recipe
from widthwise.study import StudySpec
from widthwise.study.spec import PackingSpec, TrainingSpec, differences

GRID = {"widening_factor": 1, "learning_rate": 0.1, "batch_size": 4}
TRAINING = {"steps": 10}
MINIMAL = {"grid": GRID, "training": TRAINING}


def with_key(path, value):
    parts, changed = path.split("."), {k: dict(v) for k, v in MINIMAL.items()}
    node = changed
    for part in parts[:-1]:
        node = node.setdefault(part, {})
    node[parts[-1]] = value
    return changed


class TestForms:
    TOML = (
        'title = "T"\n[grid]\nwidening_factor = [1, 2]\nlearning_rate = {from=0.1, to=10, num=3}\n'
        "batch_size = 4\nseeds = 3\n[training]\nepochs = 2.5\n"
    )

    def test_toml_json_and_dict_are_one(self, tmp_path):
        (tmp_path / "a.toml").write_text(self.TOML)
        spec = StudySpec.parse(tmp_path / "a.toml")
        assert spec.grid[0].learning_rate == (0.1, 1.0, 10.0)
        assert spec.grid[0].seeds == (0, 1, 2)
        (tmp_path / "a.json").write_text(json.dumps(spec.fields()))
        assert StudySpec.parse(tmp_path / "a.json") == spec
        assert StudySpec.parse(spec.fields()) == spec
        assert StudySpec.parse(spec) == spec
        assert StudySpec.parse(str(tmp_path / "a.toml")).hash == spec.hash

    def test_hash_changes_with_every_key(self):
        base = StudySpec.parse(MINIMAL)
        assert StudySpec.parse({**MINIMAL, "title": "Other"}).hash != base.hash
        assert StudySpec.parse(with_key("grid.seeds", 3)).hash != base.hash

    def test_frozen(self):
        with pytest.raises(ValueError, match="frozen"):
            StudySpec.parse(MINIMAL).title = "Other"

    def test_differences_name_keys(self):
        a, b = StudySpec.parse(MINIMAL), StudySpec.parse(with_key("grid.batch_size", 8))
        assert differences(a, b) == ["grid[0].batch_size: [4] against [8]"]
        assert differences(a, a) == []

    def test_the_family_file_is_beside_the_specification(self, tmp_path):
        (tmp_path / "a.toml").write_text(self.TOML + '[family]\nkind = "nets.py:build"\n')
        assert StudySpec.parse(tmp_path / "a.toml").family.kind == f"{tmp_path / 'nets.py'}:build"


class TestOverrides:
    @pytest.mark.parametrize(
        ("override", "expected"),
        [
            ("grid.seeds=3", (0, 1, 2)),
            ("grid.seeds=[4, 2]", (2, 4)),
            (" grid.seeds = 1", (0,)),
        ],
    )
    def test_values_are_toml(self, override, expected):
        assert StudySpec.parse(MINIMAL, [override]).grid[0].seeds == expected

    def test_bare_words_are_text(self):
        spec = StudySpec.parse(MINIMAL, ["title=Two words", "family.parameterization=ntk"])
        assert (spec.title, spec.family.parameterization) == ("Two words", "ntk")

    def test_the_given_dict_is_left_alone(self):
        before = json.dumps(MINIMAL)
        StudySpec.parse(MINIMAL, ["grid.seeds=3"])
        assert json.dumps(MINIMAL) == before

    @pytest.mark.parametrize("override", ["grid.seeds", "=3", "grid.seeds.x=3", "title.x=1"])
    def test_malformed(self, override):
        with pytest.raises(InputError):
            StudySpec.parse(MINIMAL, [override])

    def test_one_of_several_grids_cannot_be_meant(self):
        with pytest.raises(InputError, match="edit the file instead"):
            StudySpec.parse({**MINIMAL, "grid": [GRID, GRID]}, ["grid.seeds=3"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"grid": GRID}, r"needs 'training': \[training\] with one of steps = 5000"),
        ({"training": {"steps": 8}}, r"needs 'grid': \[grid\] with widening_factor = \[1, 2, 4\]"),
        ({}, r"needs 'grid' and 'training': \[grid\] with .*; \[training\] with one of steps"),
        (
            {"grid": {"learning_rate": 1, "batch_size": 2}, "training": {"steps": 8}},
            r"needs 'grid.widening_factor'$",
        ),
    ],
)
def test_what_a_missing_table_must_have_is_said(given, said):
    with pytest.raises(InputError, match=said):
        StudySpec.parse(given)


def test_what_is_said_of_missing_tables_is_true():
    grid = {"widening_factor": [1, 2, 4], "learning_rate": 0.1, "batch_size": [2, 8, 32]}
    for budget in ({"steps": 5000}, {"epochs": 100}, {"physical_time": 500}):
        assert StudySpec.parse({"grid": grid, "training": budget}).grid[0].batch_size == (2, 8, 32)


WRONG = {
    "unknown key": ("grid.learning_rat", 0.1, "unknown key .* did you mean 'learning_rate'"),
    "unknown table": ("trianing", {}, "unknown key 'trianing' .* did you mean 'training'"),
    "nothing like it": ("family.qqq", 1, "known keys: kind, parameterization"),
    "negative rate": ("grid.learning_rate", -0.1, "greater than 0, got -0.1"),
    "zero rate": ("grid.learning_rate", [0.1, 0], "greater than 0"),
    "rate not a number": ("grid.learning_rate", float("nan"), "learning_rate"),
    "infinite rate": ("grid.learning_rate", float("inf"), "learning_rate"),
    "word for a rate": ("grid.learning_rate", "fast", "learning_rate.*got 'fast'"),
    "momentum 1": ("grid.momentum", 1.0, "momentum.*less than 1, got 1.0"),
    "negative momentum": ("grid.momentum", -0.5, "momentum"),
    "momentum not a number": ("grid.momentum", float("nan"), "momentum"),
    "half an example": ("grid.batch_size", 2.5, "batch_size.*got 2.5"),
    "no example": ("grid.batch_size", 0, "batch_size"),
    "hardly any width": ("grid.widening_factor", 1e-300, "must lie in .*, got 1e-300"),
    "no width": ("grid.widening_factor", [], "at least one value"),
    "no seeds": ("grid.seeds", 0, "seeds"),
    "negative seed": ("grid.seeds", [-1], "seeds"),
    "range without num": ("grid.learning_rate", {"from": 1, "to": 2}, "a range is written"),
    "range downhill": ("grid.learning_rate", {"from": 2, "to": 1, "num": 3}, "0 < from < to"),
    "range that no float holds": (
        "grid.learning_rate",
        {"from": 1, "to": 10**320, "num": 3},
        "at most 1e308",
    ),
    "range of batches that no float holds": (
        "grid.batch_size",
        {"from": 1, "to": 10**320, "num": 3},
        "at most 1e308",
    ),
    "range of one": ("grid.learning_rate", {"from": 1, "to": 2, "num": 1}, "num ≥ 2"),
    "range of words": ("grid.learning_rate", {"from": "a", "to": 2, "num": 3}, "0 < from < to"),
    "range of nothing": ("grid.batch_size", {"from": 1, "to": None, "num": 3}, "0 < from < to"),
    "endless range": (
        "grid.batch_size",
        {"from": 1, "to": float("inf"), "num": 3},
        "0 < from < to",
    ),
    "two budgets": ("training.epochs", 3, "exactly one .* got steps and epochs"),
    "too few steps": ("training.steps", 3, "training.steps.*got 3"),
    "too few evaluations": ("training.evaluations", 2, "evaluations"),
    "unknown sampling": ("training.sampling", "sorted", "sampling"),
    "unknown family": ("family.kind", "transformer", "unknown family 'transformer'.*module:func"),
    "unknown data": ("data.name", "imagenet", "imagenet"),
    "unknown parameterization": ("family.parameterization", "mup", "standard, ntk, got 'mup'"),
    "unknown activation": ("family.activation", "step", "relu.*got 'step'"),
    "two ways of a grid": ("grid.normalized_noise_scale", 1.0, "one or the other"),
    "limit without scales": ("grid.max_batch_size", 4, "go with normalized_noise_scale"),
}


class TestRefusals:
    @pytest.mark.parametrize(("path", "value", "message"), WRONG.values(), ids=WRONG)
    def test_one_line(self, path, value, message):
        with pytest.raises(InputError, match=message) as caught:
            StudySpec.parse(with_key(path, value))
        assert "\n" not in str(caught.value)
        assert "pydantic" not in str(caught.value)

    def test_the_minimal_one_is_fine(self):
        assert StudySpec.parse(MINIMAL).title == "Width study"

    @pytest.mark.parametrize("missing", ["grid", "training"])
    def test_missing_tables(self, missing):
        with pytest.raises(InputError, match=f"needs '{missing}'"):
            StudySpec.parse({k: v for k, v in MINIMAL.items() if k != missing})

    def test_no_budget(self):
        with pytest.raises(InputError, match=r"exactly one .* got none"):
            StudySpec.parse({**MINIMAL, "training": {}})

    def test_neither_way_of_a_grid(self):
        with pytest.raises(InputError, match="needs learning_rate and batch_size, or"):
            StudySpec.parse({**MINIMAL, "grid": {"widening_factor": 1, "learning_rate": 0.1}})

    def test_options_of_built_in_families_do_not_go_with_ones_own(self):
        with pytest.raises(InputError, match=r"base_width belongs to the built-in families"):
            StudySpec.parse(fields(family={"kind": "a:b", "base_width": 4}))

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.toml", b"[grid\n", "cannot be parsed"),
            ("a.json", b"{", "cannot be parsed"),
            ("a.json", b"[1]", "must be a table"),
            ("a.toml", b"\xff\xfe", "not UTF-8"),
            ("absent.toml", None, "cannot be read: No such file"),
        ],
    )
    def test_files(self, tmp_path, name, content, message):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            StudySpec.parse(tmp_path / name)


def trained_with(**options):
    return StudySpec.parse({**MINIMAL, "training": {**TRAINING, **options}})


WRONG_OPTIONS = {
    "unknown schedule": ({"schedule": "linear"}, "schedule: .*'constant', 'cosine' or 'step'"),
    "unknown loss": ({"loss": "hinge"}, "loss: .*got 'hinge'"),
    "unknown augmentation": ({"augmentation": "rotate"}, "augmentation: .*got 'rotate'"),
    "unknown precision": ({"precision": "fp8"}, "precision: .*got 'fp8'"),
    "negative decay": ({"weight_decay": -1.0}, r"training: weight_decay must lie in .*got -1.0"),
    "decay no number": ({"weight_decay": float("nan")}, "weight_decay must lie"),
    "warm-up of all": ({"warmup": 1.0}, r"warmup is a part of the run in \[0, 1\), got 1.0"),
    "step at no time": ({"schedule": "step"}, "decay_at go together"),
    "times of no step": ({"decay_at": [0.5]}, "decay_at go together"),
    "half a pixel": ({"crop_padding": 1.5}, "crop_padding: .*got 1.5"),
    "ghosts of one": ({"ghost_batch_size": 1}, "ghost_batch_size must be at least 2, got 1"),
    "smoothed squares": (
        {"label_smoothing": 0.1, "loss": "mean-squared-error"},
        "label_smoothing goes with cross-entropy",
    ),
    "nesterov alone": ({"nesterov": True}, "nesterov needs momentum, got momentum 0 in every grid"),
    "misspelt": ({"wieght_decay": 0.1}, "did you mean 'weight_decay'"),
}


class TestTrainingOptions:
    def test_they_are_those_of_a_recipe_with_its_defaults(self):
        assert trained_with().training.recipe == Recipe()
        own = {f.name: f.default for f in dataclasses.fields(Recipe)}
        assert {n: TrainingSpec.model_fields[n].default for n in own} == own

    def test_each_reaches_the_recipe(self):
        options = {
            "nesterov": True,
            "weight_decay": 0.1,
            "schedule": "step",
            "warmup": 0.1,
            "decay_at": (0.5, 0.75),
            "decay_factor": 0.2,
            "loss": "cross-entropy",
            "label_smoothing": 0.1,
            "augmentation": "crop-flip",
            "crop_padding": 2,
            "ghost_batch_size": 16,
            "precision": "bf16",
        }
        assert set(options) == {field.name for field in dataclasses.fields(Recipe)}
        spec = StudySpec.parse(
            {"grid": {**GRID, "momentum": 0.9}, "training": {**TRAINING, **options}}
        )
        assert spec.training.recipe == Recipe(**options)
        assert StudySpec.parse(json.loads(json.dumps(spec.fields()))) == spec
        assert spec.hash != trained_with().hash

    @pytest.mark.parametrize(("options", "message"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS)
    def test_refusals_are_one_line(self, options, message):
        with pytest.raises(InputError, match=message) as caught:
            trained_with(**options)
        assert "\n" not in str(caught.value)
        assert "pydantic" not in str(caught.value)

    def test_nesterov_with_momentum_somewhere(self):
        grids = [GRID, {**GRID, "momentum": [0, 0.9]}]
        training = {**TRAINING, "nesterov": True}
        assert StudySpec.parse({"grid": grids, "training": training}).training.nesterov

    @pytest.mark.parametrize("options", [{"schedule": "cosine"}, {"warmup": 0.1}])
    def test_physical_time_is_of_a_constant_rate(self, options):
        with pytest.raises(InputError, match="physical_time needs a constant learning rate, got"):
            StudySpec.parse({"grid": GRID, "training": {"physical_time": 5, **options}})
        assert StudySpec.parse({"grid": GRID, "training": {"epochs": 5, **options}})


def family_fields(**family):
    return StudySpec.parse({**MINIMAL, "family": family}).fields()["family"]


class TestFamilies:
    @pytest.mark.parametrize(
        ("given", "image"),
        [
            ({"kind": "mlp", "depth": 2, "activation": "tanh"}, (28, 28)),
            ({"kind": "cnn", "normalization": "batch", "pooling": "average"}, (28, 28)),
            ({"kind": "cnn", "base_width": 3, "bias": False}, (3, 32, 32)),
            ({"kind": "wide_resnet", "depth": 16, "parameterization": "ntk"}, (28, 28)),
            ({"kind": "wide_resnet", "normalization": "batch", "widen_stem": False}, (3, 32, 32)),
        ],
    )
    def test_every_key_reaches_the_family(self, given, image):
        options = {key: value for key, value in given.items() if key != "kind"}
        expected = getattr(families, given["kind"])(image, 10, **options)
        assert StudySpec.parse({**MINIMAL, "family": given}).family.family(image, 10) == expected

    @pytest.mark.parametrize("kind", ["mlp", "cnn", "wide_resnet"])
    def test_defaults_are_the_familys_own_and_written_out(self, kind):
        own = getattr(families, kind)((32, 32), 10)
        written = family_fields(kind=kind)
        assert written.pop("kind") == kind
        built = dataclasses.asdict(own)
        assert written == {k: built[k] for k in built.keys() - {"input_shape", "num_classes"}}
        assert family_fields(kind=kind, **written) == {"kind": kind, **written}

    def test_none_is_the_default(self):
        assert family_fields(kind="cnn", depth=None) == family_fields(kind="cnn")

    def test_an_mlp_has_the_keys_it_always_had(self):
        """Hashes of studies must not change because other families have options."""
        keys = ["kind", "parameterization", "base_width", "depth", "bias", "activation"]
        assert list(family_fields(base_width=8)) == keys

    def test_a_family_of_ones_own_has_two_keys(self):
        expected = {"kind": "nets:build", "parameterization": "ntk"}
        assert family_fields(kind="nets:build", parameterization="ntk") == expected

    def test_options_that_matter_change_the_hash(self):
        plain, batch, average = (
            StudySpec.parse({**MINIMAL, "family": {"kind": "cnn", **options}}).hash
            for options in ({}, {"normalization": "batch"}, {"pooling": "average"})
        )
        assert len({plain, batch, average}) == 3

    @pytest.mark.parametrize(
        ("family", "message"),
        [
            ({"kind": "mlp", "pooling": "max"}, "pooling belongs to .* cnn, not to 'mlp'; leave"),
            (
                {"kind": "mlp", "normalization": "batch"},
                "normalization belongs to the built-in families cnn, wide_resnet, not to 'mlp'",
            ),
            ({"kind": "wide_resnet", "pooling": "max"}, "pooling belongs .* not to 'wide_resnet'"),
            ({"kind": "cnn", "widen_stem": False}, "widen_stem belongs .* wide_resnet, not to"),
            ({"kind": "a:b", "bias": False}, "bias belongs .* mlp, cnn, wide_resnet, not to 'a:b'"),
            ({"kind": "cnn", "pooling": "min"}, "pooling must be one of max, average, got 'min'"),
            ({"kind": "cnn", "normalization": "layer"}, "one of none, batch, got 'layer'"),
            ({"kind": "cnn", "depth": 0}, "depth.*got 0"),
            ({"kind": "resnet"}, "unknown family 'resnet': kind must be one of mlp, cnn, wide_res"),
            ({"kind": 3}, "family.kind.*got 3"),
            ({"kind": ["cnn"]}, "family.kind.*got"),
        ],
    )
    def test_refusals(self, family, message):
        with pytest.raises(InputError, match=message) as caught:
            StudySpec.parse({**MINIMAL, "family": family})
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("family", "message"),
        [
            ({"kind": "wide_resnet", "depth": 12}, r"6k \+ 4 .* got 12"),
            ({"kind": "cnn", "depth": 4}, "pools 4 times, .* at least 16 pixels"),
        ],
    )
    def test_what_only_the_data_can_tell(self, family, message):
        spec = StudySpec.parse({**MINIMAL, "family": family})
        with pytest.raises(InputError, match=message):
            spec.family.family((8, 8), 10)


class TestPackingOnACard:
    def test_what_is_left_out_suits_the_card(self):
        packing = PackingSpec().on_card(80 * 10**9)
        assert (packing.max_replicas, packing.memory_mb, packing.size) == (512, 5000.0, None)

    def test_what_is_stated_stays(self):
        packing = PackingSpec(max_replicas=16, memory_mb=1024.0).on_card(80 * 10**9)
        assert (packing.max_replicas, packing.memory_mb) == (16, 1024.0)

    def test_a_parsed_specification_remembers_what_was_left_out(self):
        spec = StudySpec.parse({**MINIMAL, "packing": {"memory_mb": 99.0}})
        again = StudySpec.parse(spec).packing.on_card(80 * 10**9)
        assert (again.max_replicas, again.memory_mb) == (512, 99.0)
