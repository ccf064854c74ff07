"""Ghost batch norm = one ordinary forward pass for each part of the batch."""

import copy

import pytest
import torch
from torch import nn

from widthwise.errors import InputError
from widthwise.families.ghost_norm import (
    GhostBatchNorm1d,
    GhostBatchNorm2d,
    with_ghost_batch_norm,
)

SIZE = 3
KINDS = {
    "1d": (nn.BatchNorm1d, GhostBatchNorm1d, (4,)),
    "1d sequence": (nn.BatchNorm1d, GhostBatchNorm1d, (4, 5)),
    "2d": (nn.BatchNorm2d, GhostBatchNorm2d, (4, 2, 3)),
}


def batch(num, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3.0 + 2.0 * torch.randn((num, *shape), generator=generator, dtype=torch.float64)


def twins(ordinary, **options):
    """An ordinary layer with parameters that are not 1 and 0, and its ghost form."""
    plain = ordinary(4, **options).double()
    if plain.affine:
        with torch.no_grad():
            plain.weight.copy_(torch.linspace(0.5, 2, 4))
            plain.bias.copy_(torch.linspace(-1, 1, 4))
    return plain, with_ghost_batch_norm(copy.deepcopy(plain), SIZE)


def part_by_part(layer, x):
    return torch.cat([layer(part) for part in x.split(SIZE)])


@pytest.mark.parametrize("kind", KINDS)
class TestIsOnePassForEachPart:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"momentum": 0.3},
            {"momentum": None},
            {"eps": 0.1},
            {"affine": False},
            {"track_running_stats": False},
        ],
        ids=str,
    )
    def test_outputs_statistics_and_gradients(self, kind, options):
        ordinary, _, shape = KINDS[kind]
        plain, ghost = twins(ordinary, **options)
        for step in range(3):
            x = batch(4 * SIZE, shape, step).requires_grad_()
            y = x.detach().clone().requires_grad_()
            weights = batch(4 * SIZE, shape, 50 + step)
            expected, found = part_by_part(plain, x), ghost(y)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
            (expected * weights).sum().backward()
            (found * weights).sum().backward()
            torch.testing.assert_close(y.grad, x.grad, rtol=0, atol=1e-12)
        torch.testing.assert_close(ghost.state_dict(), plain.state_dict(), rtol=0, atol=1e-12)
        for a, b in zip(ghost.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12)
        if plain.track_running_stats:
            assert int(ghost.num_batches_tracked) == 12

    def test_evaluation_is_ordinary(self, kind):
        ordinary, _, shape = KINDS[kind]
        plain, ghost = twins(ordinary)
        x = batch(2 * SIZE, shape)
        part_by_part(plain, x)
        ghost(x)
        plain.eval()
        ghost.eval()
        x = batch(SIZE + 1, shape, 9)  # no multiple of the size
        torch.testing.assert_close(ghost(x), plain(x), rtol=0, atol=1e-12)

    def test_the_comparison_notices_ordinary_batch_norm(self, kind):
        ordinary, _, shape = KINDS[kind]
        plain, ghost = twins(ordinary)
        x = batch(4 * SIZE, shape)
        assert float((plain(x) - ghost(x)).detach().abs().max()) > 0.01

    @pytest.mark.parametrize("num", [SIZE + 1, SIZE - 1, 0])
    def test_batches_that_cannot_be_cut(self, kind, num):
        _, ghost, shape = KINDS[kind]
        with pytest.raises(InputError, match=rf"multiple of ghost_batch_size=3, got {num}; change"):
            ghost(4, ghost_batch_size=SIZE).double()(batch(num, shape))

    def test_axes_are_checked_as_ever(self, kind):
        _, ghost, shape = KINDS[kind]
        with pytest.raises(ValueError, match="expected"):
            ghost(4, ghost_batch_size=SIZE).double()(batch(SIZE, (*shape, 1, 1, 1)))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm2d(3)
        self.inner = nn.Sequential(nn.Conv2d(3, 3, 1), self.first, nn.ModuleList([self.first]))

    def forward(self, x):
        return self.inner[:2](self.first(x))


class TestReplacing:
    def network(self):
        return nn.Sequential(
            nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3, eps=0.01), nn.Flatten(), nn.BatchNorm1d(12)
        )

    def test_every_layer_in_place(self):
        network = self.network()
        before = dict(network.named_parameters()) | dict(network.named_buffers())
        assert with_ghost_batch_norm(network, 4) is network
        after = dict(network.named_parameters()) | dict(network.named_buffers())
        assert list(after) == list(before)
        assert all(after[name] is before[name] for name in before)
        assert [type(layer) for layer in network] == [
            nn.Conv2d,
            GhostBatchNorm2d,
            nn.Flatten,
            GhostBatchNorm1d,
        ]
        assert (network[1].eps, network[1].ghost_batch_size) == (0.01, 4)

    def test_options_mode_and_hooks_stay(self):
        layer = nn.BatchNorm1d(3, eps=0.5, momentum=None, affine=False, track_running_stats=False)
        calls = []
        layer.register_forward_hook(lambda *_: calls.append(1))
        ghost = with_ghost_batch_norm(layer.eval(), 2)
        assert isinstance(ghost, GhostBatchNorm1d)
        assert (ghost.eps, ghost.momentum, ghost.affine) == (0.5, None, False)
        assert (ghost.track_running_stats, ghost.training) == (False, False)
        ghost(torch.randn(4, 3))
        assert calls == [1]

    def test_frozen_parameters_stay_frozen(self):
        layer = nn.BatchNorm1d(3)
        layer.weight.requires_grad_(False)
        ghost = with_ghost_batch_norm(layer, 2)
        assert (ghost.weight.requires_grad, ghost.bias.requires_grad) == (False, True)

    def test_a_layer_used_twice_is_one_layer(self):
        module = with_ghost_batch_norm(Twice(), 2)
        assert type(module.first) is GhostBatchNorm2d
        assert module.inner[1] is module.first
        assert module.inner[2][0] is module.first

    def test_a_new_size(self):
        network = with_ghost_batch_norm(with_ghost_batch_norm(self.network(), 4), 2)
        assert (network[1].ghost_batch_size, network[3].ghost_batch_size) == (2, 2)

    def test_without_batch_norm_nothing_happens(self):
        module = nn.Linear(2, 2)
        assert with_ghost_batch_norm(module, 4) is module

    def test_copies_are_independent(self):
        ghost = with_ghost_batch_norm(self.network(), 2)
        twin = copy.deepcopy(ghost)
        twin(torch.randn(4, 1, 2, 2))
        assert int(twin[1].num_batches_tracked) == 2
        assert int(ghost[1].num_batches_tracked) == 0

    def test_other_kinds_are_refused_and_nothing_changes(self):
        class WithActivation(nn.BatchNorm2d):
            def forward(self, input):  # noqa: A002
                return super().forward(input).relu()

        network = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(WithActivation(3)))
        with pytest.raises(InputError, match=r"layer '1.0' is WithActivation; replace"):
            with_ghost_batch_norm(network, 2)
        assert type(network[0]) is nn.BatchNorm2d
        with pytest.raises(InputError, match="layer 'module' is BatchNorm3d"):
            with_ghost_batch_norm(nn.BatchNorm3d(2), 2)

    @pytest.mark.parametrize("size", [0, -2, 2.0])
    def test_sizes_are_whole(self, size):
        with pytest.raises(InputError, match="ghost_batch_size must be a whole number"):
            with_ghost_batch_norm(nn.BatchNorm1d(2), size)
        with pytest.raises(InputError, match="ghost_batch_size must be a whole number"):
            GhostBatchNorm1d(2, ghost_batch_size=size)
