"""The compiled engine: its source in double against ``torch.optim.SGD``, and its bits."""

import copy
import ctypes
import itertools
import os
from contextlib import suppress
from unittest import mock

import numpy as np
import pytest
import torch
from engines.training_alone import dense_engine, loss_of, seeded
from torch import nn

from widthwise import families
from widthwise.data import Dataset
from widthwise.engines import compiled_pack, pack
from widthwise.engines.activations import RELU
from widthwise.engines.compiled import build as builder
from widthwise.engines.compiled import library
from widthwise.engines.modules import NotPackableError
from widthwise.errors import InputError
from widthwise.sgd.recipe import Recipe
from widthwise.training.job import PackJob, Replica
from widthwise.training.trainer import PackTrainer, train_pack

needs_library = pytest.mark.skipif(
    dense_engine() != "compiled", reason="the compiled library is not built"
)
INSTRUCTION_SETS = ["avx2", "avx512"]
INPUTS, CLASSES, EXAMPLES = 23, 3, 60
BATCH_SIZES = [1, 2, 3, 7, 16, 33, 130]
# Not multiples of 16, and more than four panels of 16.
WIDTHS = {1: [37], 2: [70, 18], 3: [5, 33, 20]}
RATE = 0.03

# Options of one run: recipe, momentum, what lies between the layers, biases.
OPTIONS = {
    "plain": (Recipe(), 0.0, nn.ReLU, True),
    "momentum, no bias": (Recipe(), 0.9, nn.ReLU, False),
    "nesterov": (Recipe(nesterov=True), 0.9, nn.Tanh, True),
    "nesterov and decay": (Recipe(nesterov=True, weight_decay=0.05), 0.8, nn.ReLU, True),
    "decay": (Recipe(weight_decay=0.05), 0.0, nn.Sigmoid, True),
    "decay and momentum": (Recipe(weight_decay=0.05), 0.5, nn.SiLU, True),
    "smoothing": (Recipe(label_smoothing=0.2), 0.0, nn.GELU, True),
    "squared error": (
        Recipe(loss="mean-squared-error"), 0.5, lambda: nn.GELU("tanh"), True
    ),
    "linear": (Recipe(), 0.5, nn.Identity, True),
}  # fmt: skip


def combinations_of(option):
    """A depth for every batch size; of three options in a row, every depth."""
    first = list(OPTIONS).index(option)
    return [(1 + (first + i) % 3, batch_size) for i, batch_size in enumerate(BATCH_SIZES)]


def scaled(fan_in, fan_out, bias):
    """The layer of the NTK parameterization."""
    return families.ScaledLinear(fan_in, fan_out, bias, multiplier=fan_in**-0.5)


def network(widths, activation, bias, layer=nn.Linear, inputs=INPUTS):
    sizes = [inputs, *widths, CLASSES]
    layers = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [layer(fan_in, fan_out, bias=bias), activation()]
    kept = [one for one in layers[:-1] if not isinstance(one, nn.Identity)]
    return nn.Sequential(*kept)


def data(dtype=torch.float64, num_inputs=INPUTS):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(EXAMPLES, num_inputs, generator=generator, dtype=torch.float64)
    return inputs.to(dtype), torch.randint(CLASSES, (EXAMPLES,), generator=generator)


def drawn(replicas, num_steps, batch_size, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(EXAMPLES, (replicas, num_steps, batch_size), generator=generator)


def compiled(modules, momenta, recipe=None, rates=None):
    return pack(modules, rates or [RATE] * len(modules), momenta, recipe=recipe, engine="compiled")


def train(packed, inputs, labels, indices, factors=None, begin=0):
    """Losses (steps, R)."""
    losses = inputs.new_empty(indices.shape[1], indices.shape[0])
    if factors is None:
        factors = torch.ones(indices.shape[1], dtype=torch.float64)
    packed.train_steps(inputs, labels, indices, losses, first_number=begin, rate_factors=factors)
    return losses


def train_alone(module, rate, momentum, indices, recipe=None, factors=None):
    """Losses of each step by ``torch.optim.SGD``; the module is trained."""
    inputs, labels = data(num_inputs=module[0].in_features)
    recipe = recipe or Recipe()
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=rate,
        momentum=momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov and momentum > 0,
    )
    losses = []
    for step, rows in enumerate(indices):
        optimizer.param_groups[0]["lr"] = rate * (1.0 if factors is None else float(factors[step]))
        optimizer.zero_grad()
        loss = loss_of(module(inputs[rows]), labels[rows], recipe)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def error_against_sgd(module, indices, momentum, recipe, factors, wrong=1.0):
    """Of losses and parameters, relative to the largest of each (at least 1), and of the logits;
    with every instruction set that this processor has."""
    inputs, labels = data(num_inputs=module[0].in_features)
    alone = copy.deepcopy(module)
    theirs = train_alone(alone, RATE, momentum, indices[0], recipe, factors)
    pairs = []
    for name in available():
        with mock.patch.dict(os.environ, {library.VARIABLE: name}):
            packed = compiled([module], [momentum], recipe, [RATE * wrong])
        assert packed.reason.endswith(name)
        losses = train(packed, inputs, labels, indices, factors)[:, 0]
        parameters = packed.parameters(0)
        pairs += [(losses, theirs), (packed.logits(inputs)[0], alone(inputs))]
        pairs += [(parameters[name], own) for name, own in alone.named_parameters()]
    differences = [(a.detach() - b.detach()).abs().max() for a, b in pairs]
    sizes = [b.detach().abs().max().clip(1) for _, b in pairs]
    return float((torch.stack(differences) / torch.stack(sizes)).max())  # NaN too


def available():
    """Instruction sets."""
    found = []
    for name in INSTRUCTION_SETS:
        with mock.patch.dict(os.environ, {library.VARIABLE: name}), suppress(NotPackableError):
            found.append(library.instruction_set())
    return found


@needs_library
class TestDouble:
    """The same source, built for double."""

    @pytest.mark.slow
    @pytest.mark.parametrize("option", OPTIONS)
    def test_to_1e_10_after_100_steps(self, option):
        recipe, momentum, activation, bias = OPTIONS[option]
        factors = torch.linspace(1.0, 0.3, 100, dtype=torch.float64)
        for depth, batch_size in combinations_of(option):
            torch.manual_seed(depth)
            layer = scaled if depth == 2 else nn.Linear
            module = network(WIDTHS[depth], activation, bias, layer).double()
            indices = drawn(1, 100, batch_size)
            error = error_against_sgd(module, indices, momentum, recipe, factors)
            assert error < 1e-10, (depth, batch_size)

    @pytest.mark.slow
    @pytest.mark.parametrize("batch_size", [1, 3, 5, 8, 17, 64])
    @pytest.mark.parametrize("decay", [0.0, 0.01])
    def test_layers_that_are_taken_range_by_range(self, batch_size, decay):
        """More inputs than stay in the first-level cache."""
        factors, rows = torch.ones(30, dtype=torch.float64), drawn(1, 30, batch_size)
        for widths in ([20], [130, 250], [260, 300]):
            torch.manual_seed(0)
            module = network(widths, nn.ReLU, True, inputs=500).double()
            error = error_against_sgd(module, rows, 0.5, Recipe(weight_decay=decay), factors)
            assert error < 1e-10

    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    @pytest.mark.parametrize("batch_size", [1, 7])
    def test_a_rate_wrong_by_one_part_in_a_million_is_noticed(self, momentum, batch_size):
        torch.manual_seed(0)
        module = network(WIDTHS[2], nn.ReLU, True).double()
        options = (drawn(1, 100, batch_size), momentum, Recipe(), torch.ones(100).double())
        assert error_against_sgd(module, *options) < 1e-10
        assert error_against_sgd(module, *options, wrong=1 + 1e-6) > 1e-9

    def test_one_class_and_one_unit(self):
        module = nn.Sequential(nn.Linear(INPUTS, 1), nn.ReLU(), nn.Linear(1, CLASSES)).double()
        factors = torch.ones(100, dtype=torch.float64)
        assert error_against_sgd(module, drawn(1, 100, 5), 0.9, Recipe(), factors) < 1e-10

    @pytest.mark.parametrize("batch_size", [1, 5])
    def test_one_layer(self, batch_size):
        module = nn.Sequential(nn.Linear(INPUTS, CLASSES)).double()
        factors, recipe = torch.linspace(1.0, 0.3, 100).double(), Recipe(weight_decay=0.01)
        rows = drawn(1, 100, batch_size)
        assert error_against_sgd(module, rows, 0.9, recipe, factors) < 1e-10

    @pytest.mark.parametrize("batch_size", [1, 4])
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_diverges_at_the_same_step(self, momentum, batch_size):
        module = network([37], nn.ReLU, True).double()
        inputs, labels = data()
        indices, rate = drawn(1, 60, batch_size), 1e30
        ours = train(compiled([module], [momentum], rates=[rate]), inputs, labels, indices)[:, 0]
        theirs = train_alone(copy.deepcopy(module), rate, momentum, indices[0])
        assert torch.isfinite(ours).tolist() == torch.isfinite(theirs).tolist()
        assert not torch.isfinite(theirs).all()


@needs_library
class TestSingle:
    @pytest.mark.slow
    @pytest.mark.parametrize("option", OPTIONS)
    def test_losses_to_1e_5_of_double_after_50_steps(self, option):
        recipe, momentum, activation, bias = OPTIONS[option]
        for depth, batch_size in combinations_of(option):
            torch.manual_seed(depth)
            module, indices = network(WIDTHS[depth], activation, bias), drawn(1, 50, batch_size)
            inputs, labels = data()
            wide = compiled([copy.deepcopy(module).double()], [momentum], recipe)
            expected = train(wide, inputs.float().double(), labels, indices)
            narrow = compiled([module], [momentum], recipe)
            losses = train(narrow, inputs.float(), labels, indices).double()
            error = (losses - expected).abs() / expected.abs().clip(0.1)
            assert float(error.max()) < 1e-5, (depth, batch_size)

    def test_is_tried_first_and_proves_itself(self, monkeypatch):
        inputs, labels = data(torch.float32)
        modules = [network([20], nn.ReLU, True) for _ in range(2)]
        packed = pack(modules, [0.1, 0.2], example=(inputs[:8], labels[:8]))
        assert packed.engine == "compiled"
        assert packed.reason.endswith(library.instruction_set())
        monkeypatch.setattr(compiled_pack, "_NAMES", {None: "none"})
        other = pack(modules, [0.1, 0.2], example=(inputs[:8], labels[:8]))
        assert (other.engine, "not compiled: an activation" in other.reason) == ("chain", True)

    def test_a_chunk_that_is_not_its_steps_is_caught(self, monkeypatch):
        inputs, labels = data(torch.float32)
        right = compiled_pack.CompiledPack.train_steps

        def wrong(self, inputs, labels, indices, *args, **options):
            flipped = indices.flip(1) if indices.shape[1] > 1 else indices
            right(self, inputs, labels, flipped, *args, **options)

        monkeypatch.setattr(compiled_pack.CompiledPack, "train_steps", wrong)
        packed = pack([network([20], nn.ReLU, True)], [0.1], example=(inputs[:8], labels[:8]))
        assert "but the losses of steps in one call differ by" in packed.reason

    def test_a_wrong_derivative_is_caught(self, monkeypatch):
        inputs, labels = data(torch.float32)
        monkeypatch.setitem(compiled_pack._NAMES, RELU, "tanh")
        packed = pack([network([20], nn.ReLU, True)], [0.1], example=(inputs[:8], labels[:8]))
        assert (packed.engine, "differ by" in packed.reason) == ("chain", True)


def states(packed):
    return torch.cat([tensor.reshape(-1) for tensor in packed.state().values()])


RUNS = {"plain": ([0.0] * 3, Recipe()), "momenta": ([0.9, 0.0, 0.5], Recipe()),
        "options": ([0.9, 0.0, 0.5], Recipe(nesterov=True, weight_decay=0.01))}  # fmt: skip


@needs_library
@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("batch_size", [1, 2, 4, 7, 16, 33])
class TestSameBits:
    INPUTS = 300  # more than one range of rows

    def modules(self):
        make = seeded(lambda: network([70, 18], nn.Tanh, True, inputs=self.INPUTS))
        return [make(seed) for seed in range(3)]

    def trained(self, runs, batch_size, chosen=(0, 1, 2), cuts=(50,)):
        momenta, recipe = RUNS[runs]
        modules, (inputs, labels) = self.modules(), data(torch.float32, self.INPUTS)
        packed = compiled([modules[i] for i in chosen], [momenta[i] for i in chosen], recipe)
        indices, losses = drawn(3, 50, batch_size)[list(chosen)], []
        begin = 0
        for part in indices.split(list(cuts), 1):
            losses.append(train(packed, inputs, labels, part, begin=begin))
            begin += part.shape[1]
        return packed, torch.cat(losses)

    def same(self, ours, theirs):
        assert torch.equal(states(ours[0]), states(theirs[0]))
        assert torch.equal(ours[1], theirs[1])

    def test_for_every_chunking(self, runs, batch_size):
        whole = self.trained(runs, batch_size)
        self.same(whole, self.trained(runs, batch_size, cuts=(16, 32, 2)))
        anywhere = self.trained(runs, batch_size, cuts=(17, 1, 32))
        if batch_size > 1:
            self.same(whole, anywhere)
        else:  # within blocks: the same but for rounding
            assert not torch.equal(states(whole[0]), states(anywhere[0]))
            torch.testing.assert_close(states(whole[0]), states(anywhere[0]), rtol=0, atol=1e-5)

    def test_for_every_instruction_set(self, runs, batch_size, monkeypatch):
        found = []
        if available() != INSTRUCTION_SETS:
            pytest.skip("the processor has one instruction set only")
        for name in INSTRUCTION_SETS:
            monkeypatch.setenv(library.VARIABLE, name)
            found.append(self.trained(runs, batch_size))
            assert found[-1][0].reason.endswith(name)
        self.same(*found)
        inputs, _ = data(torch.float32, self.INPUTS)
        assert torch.equal(found[0][0].logits(inputs), found[1][0].logits(inputs))

    def test_in_any_company_and_order(self, runs, batch_size):
        packed, losses = self.trained(runs, batch_size)
        other, other_losses = self.trained(runs, batch_size, chosen=(2, 0))
        for ours, theirs in ((0, 2), (1, 0)):
            assert torch.equal(other_losses[:, ours], losses[:, theirs])
            for name, tensor in packed.parameters(theirs).items():
                assert torch.equal(other.parameters(ours)[name], tensor)

    def test_after_a_checkpoint_and_losing_a_replica(self, runs, batch_size):
        momenta, recipe = RUNS[runs]
        _, losses = self.trained(runs, batch_size)
        begun = compiled(self.modules(), momenta, recipe)
        (inputs, labels), indices = data(torch.float32, self.INPUTS), drawn(3, 50, batch_size)
        train(begun, inputs, labels, indices[:, :32])
        begun.keep([0, 2])
        resumed = compiled(self.modules(), momenta, recipe)
        resumed.keep([0, 2])
        resumed.restore({name: tensor.clone() for name, tensor in begun.state().items()})
        rest = train(resumed, inputs, labels, indices[[0, 2], 32:], begin=32)
        assert torch.equal(rest, losses[32:, [0, 2]])

    def test_step_by_step_on_gathered_batches(self, runs, batch_size):
        momenta, recipe = RUNS[runs]
        packed, losses = self.trained(runs, batch_size)
        single = compiled(self.modules(), momenta, recipe)
        (inputs, labels), own = data(torch.float32, self.INPUTS), torch.empty(3)
        for step, rows in enumerate(drawn(3, 50, batch_size).unbind(1)):
            single.step(inputs[rows], labels[rows], own, number=step)
            if batch_size > 1:
                assert torch.equal(own, losses[step])
        if batch_size > 1:
            assert torch.equal(states(single), states(packed))
        torch.testing.assert_close(states(single), states(packed), rtol=0, atol=1e-5)


@needs_library
def test_a_rows_logits_do_not_depend_on_the_others():
    packed = compiled([network([70], nn.GELU, True)], [0.0])
    inputs, _ = data(torch.float32)
    whole = packed.logits(inputs)[0]
    parts = [packed.logits(part)[0] for part in inputs.split([1, 2, 50, 7])]
    assert torch.equal(torch.cat(parts), whole)


def evaluated_by_torch(packed, inputs, labels, loss):
    """Sums of losses and numbers of correct answers, from the logits."""
    logits = packed.logits(inputs)
    recipe = Recipe(loss=loss)
    each = [
        [loss_of(z[None], y[None], recipe) for z, y in zip(own, labels, strict=True)]
        for own in logits
    ]
    return torch.tensor(each).double().sum(1), (logits.argmax(2) == labels).sum(1)


@needs_library
@pytest.mark.parametrize("loss", ["cross-entropy", "mean-squared-error"])
@pytest.mark.parametrize("rows", [1, 47, 48, 49, EXAMPLES])
def test_evaluation_is_that_of_the_logits(loss, rows):
    """Without label smoothing, which is of training only."""
    modules = [network([5], nn.Tanh, True) for _ in range(2)]
    smoothing = 0.3 if loss == "cross-entropy" else 0.0
    packed = compiled(modules, [0.0, 0.0], Recipe(loss=loss, label_smoothing=smoothing))
    inputs, labels = (tensor[:rows] for tensor in data(torch.float32))
    sums, correct = packed.evaluate(inputs, labels)
    expected, right = evaluated_by_torch(packed, inputs, labels, loss)
    torch.testing.assert_close(sums, expected, rtol=1e-6, atol=0.0)
    assert torch.equal(correct, right)
    assert rows == 1 or not torch.equal(sums, sums.flip(0))


@needs_library
def test_evaluation_has_the_same_bits_with_every_instruction_set(monkeypatch):
    found = set()
    for name in available():
        monkeypatch.setenv(library.VARIABLE, name)
        packed = compiled([network([70], nn.GELU, True)], [0.0])
        found.add(float(packed.evaluate(*data(torch.float32))[0]))
    assert len(found) == 1


@needs_library
def test_of_equal_logits_the_first_counts():
    module = network([5], nn.ReLU, True)
    with torch.no_grad():
        module[2].weight.zero_()
        module[2].bias.copy_(torch.tensor([0.0, 1.0, 1.0]))
    inputs, labels = data(torch.float32)
    _, correct = compiled([module], [0.0]).evaluate(inputs, labels)
    assert int(correct) == int((labels == 1).sum()) > 0


@needs_library
@pytest.mark.parametrize("bad", [-1, CLASSES])
def test_evaluation_refuses_labels_out_of_bounds(bad):
    inputs, labels = data(torch.float32)
    labels[-1] = bad
    with pytest.raises(InputError, match=r"labels must lie in \[0, 3\)"):
        compiled([network([5], nn.ReLU, True)], [0.0]).evaluate(inputs, labels)


@needs_library
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.GELU])
@pytest.mark.parametrize("width", [5, 16])
def test_numbers_that_are_none_are_never_swallowed(value, activation, width):
    module = network([width], activation, True)
    inputs, labels = data(torch.float32)
    inputs[7, 3] = value
    packed = compiled([module], [0.0])
    expected = module(inputs)[7].isfinite()
    assert torch.equal(packed.logits(inputs)[0, 7].isfinite(), expected)
    indices = torch.tensor([[[1, 2], [7, 2], [1, 2]]])
    losses = train(packed, inputs, labels, indices)[:, 0]
    finite = torch.isfinite(losses).tolist()
    if value != value:
        assert finite == [True, False, False]
    else:
        assert finite[0]


@needs_library
def test_the_rectifiers_gradient_is_that_of_torch_where_it_is_infinite():
    """Where its output is zero the gradient is zero, not infinity times zero."""
    module = network([4], nn.ReLU, True)
    with torch.no_grad():
        module[0].bias.copy_(torch.tensor([1.0, -100.0, 1.0, -100.0]))
        module[2].weight.fill_(1e38)
    inputs, labels = data(torch.float32)
    packed = compiled([module], [0.0], Recipe(loss="mean-squared-error"))
    train(packed, inputs, labels, drawn(1, 1, 4))
    moved = packed.parameters(0)["0.weight"] != module[0].weight
    assert moved.any(1).tolist() == [True, False, True, False]


@needs_library
@pytest.mark.parametrize("kept", [True, False])
def test_denormal_numbers_are_flushed_inside_only(kept):
    before = torch.tensor([1e-40])
    torch.set_flush_denormal(kept)
    try:
        module = network([4], nn.ReLU, True)
        inputs, labels = data(torch.float32)
        packed = compiled([module], [0.9])
        train(packed, inputs * 1e-42, labels, drawn(1, 3, 2))
        packed.logits(inputs)
        assert bool((before * 1.0 == 0).all()) == kept
    finally:
        torch.set_flush_denormal(False)


BAD = {
    "labels": ({"labels": torch.full((EXAMPLES,), CLASSES)}, r"labels must lie in \[0, 3\)"),
    "negative labels": ({"labels": torch.full((EXAMPLES,), -1)}, "labels must lie in"),
    "indices": ({"indices": torch.tensor([[[0, EXAMPLES]]])}, r"indices must lie in \[0, 60\)"),
    "negative indices": ({"indices": torch.tensor([[[0, -1]]])}, "indices must lie in"),
    "index type": ({"indices": torch.tensor([[[0, 1]]], dtype=torch.int32)}, "must be int64"),
    "replicas": ({"indices": torch.zeros(2, 1, 1, dtype=torch.int64)}, "losses must be"),
    "inputs": ({"inputs": torch.zeros(EXAMPLES, INPUTS + 1)}, "inputs must be 23 numbers"),
    "types": ({"inputs": torch.zeros(EXAMPLES, INPUTS).double()}, "inputs must be 23 numbers"),
    "fewer labels": ({"labels": torch.zeros(3, dtype=torch.int64)}, "one label an input"),
}  # fmt: skip


@needs_library
@pytest.mark.parametrize("case", BAD)
def test_what_lies_out_of_bounds_is_refused(case):
    changed, message = BAD[case]
    inputs, labels = data(torch.float32)
    given = {"inputs": inputs, "labels": labels, "indices": drawn(1, 1, 2), **changed}
    packed = compiled([network([5], nn.ReLU, True)], [0.0])
    with pytest.raises(InputError, match=message):
        packed.train_steps(
            **given, losses=torch.empty(1, 1), first_number=0, rate_factors=torch.ones(1)
        )


def test_without_the_library_the_packed_engine_serves(monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "none")
    packed = pack([network([5], nn.ReLU, True)], [0.1])
    assert packed.engine == "chain"
    assert packed.reason.endswith("not compiled: WIDTHWISE_INSTRUCTION_SET=none")
    with pytest.raises(InputError, match='engine "compiled" was asked for, but'):
        compiled([network([5], nn.ReLU, True)], [0.1])


def test_an_unknown_instruction_set_is_named(monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "avx1024")
    with pytest.raises(NotPackableError, match="must be one of none, avx2, avx512, got 'avx1024'"):
        library.instruction_set()


@needs_library
class TestTrainer:
    def dataset(self):
        inputs, labels = data(torch.float32)
        images = inputs[:, :20].reshape(-1, 1, 4, 5).numpy().copy()
        labels = labels.numpy()
        return Dataset(
            name="images", num_classes=CLASSES, train_inputs=images, train_labels=labels,
            test_inputs=images[:30].copy(), test_labels=labels[:30].copy(),
        )  # fmt: skip

    def job(self, **changes):
        replicas = tuple(
            Replica(learning_rate=rate, momentum=momentum, seed=seed)
            for rate, momentum, seed in ((0.1, 0.0, 0), (0.05, 0.9, 0), (1e30, 0.0, 1))
        )
        basic = {"widening_factor": 2.0, "batch_size": 4, "steps": 40, "evaluations": 8}
        return PackJob(replicas=replicas, **{**basic, **changes})

    FAMILY = families.mlp((1, 4, 5), CLASSES, base_width=8)

    def curves(self, results):
        return np.concatenate([c for r in results for c in r.curves.values()])

    def test_chunks_equal_steps(self, monkeypatch):
        whole = train_pack(self.FAMILY, self.dataset(), self.job())
        monkeypatch.setattr("widthwise.training.trainer._MAX_STEPS_IN_A_CALL", 3)
        parts = train_pack(self.FAMILY, self.dataset(), self.job())
        monkeypatch.setattr("widthwise.training.trainer._PRODUCTS_AHEAD", 1)
        single = train_pack(self.FAMILY, self.dataset(), self.job())
        assert {r.engine for r in whole} == {"compiled"}
        assert [r.status for r in whole] == ["ok", "ok", "diverged"]
        for other in (parts, single):
            np.testing.assert_array_equal(self.curves(other), self.curves(whole))
            assert [r.diverged_at_step for r in other] == [r.diverged_at_step for r in whole]

    def test_augmented_images_and_the_packed_engine_agree(self):
        job = self.job(recipe=Recipe(augmentation="crop-flip", crop_padding=1))
        found = []
        for engine in ("compiled", "chain"):
            trainer = PackTrainer(self.FAMILY, self.dataset(), job, engine=engine)
            while not trainer.done:
                trainer.advance()
            found.append(trainer.results())
        for ours, theirs in zip(*found, strict=True):
            assert (ours.status, ours.diverged_at_step) == (theirs.status, theirs.diverged_at_step)
            if ours.status == "ok":
                np.testing.assert_allclose(
                    ours.curves["train_loss"], theirs.curves["train_loss"], rtol=1e-4
                )


class TestBuild:
    def test_a_compiler_that_is_not_there(self, monkeypatch, tmp_path):
        monkeypatch.setenv("CC", "no-such-compiler")
        with pytest.raises(builder.BuildError, match="no C compiler"):
            builder.build(tmp_path / "library.so")
        assert list(tmp_path.iterdir()) == []

    def test_a_compiler_that_fails(self, monkeypatch, tmp_path):
        monkeypatch.setenv("CC", "false")
        with pytest.raises(builder.BuildError, match="false failed"):
            builder.build(tmp_path / "library.so")

    @needs_library
    def test_a_library_of_another_source_is_not_used(self, monkeypatch):
        monkeypatch.setattr(library, "source_hash", lambda: "another")
        library._library.cache_clear()
        try:
            with pytest.raises(NotPackableError, match="of another source; renew it: python -m"):
                library.functions(torch.float32)
        finally:
            library._library.cache_clear()

    def test_c_sees_the_structures_as_python_does(self):
        assert ctypes.sizeof(library.Layer) == 64
        assert ctypes.sizeof(library.Network) == 64
