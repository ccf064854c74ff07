"""Trained weights in a store: whole or set aside, bound to the training that landed."""

import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load
from torch import nn

from widthwise.runs.sealed import BrokenSealError
from widthwise.runs.store import Store
from widthwise.runs.weights import TrainedWeights, decode_weights

KEY, OTHER = "0" * 32, "1" * 32
DIGEST, ELSEWHERE = "a" * 16, "b" * 16


def trained(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return TrainedWeights(
        {
            "0.weight": torch.randn(3, 2, generator=generator),
            "1.running_mean": torch.randn(3, generator=generator, dtype=torch.float64),
            "1.num_batches_tracked": torch.tensor(7),
        },
        {"0.weight": torch.randn(3, 2, generator=generator)},
    )


def same(a, b):
    return all(
        one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
        for one, other in ((a.tensors, b.tensors), (a.velocities, b.velocities))
    )


WRITTEN = trained().encode(KEY, DIGEST)


class TestTheFile:
    def test_gives_back_what_was_written(self):
        content = trained().encode(KEY, DIGEST)
        assert same(decode_weights(content, KEY, DIGEST), trained())

    def test_is_read_by_safetensors_itself(self):
        found = load(trained().encode(KEY, DIGEST))
        assert torch.equal(found["0.weight"], trained().tensors["0.weight"])
        assert torch.equal(found["momentum_buffer/0.weight"], trained().velocities["0.weight"])

    def test_without_momentum_loads_into_a_module(self):
        layer = nn.Linear(2, 3)
        weights = TrainedWeights(dict(nn.Linear(2, 3).state_dict()), {})
        layer.load_state_dict(load(weights.encode(KEY, DIGEST)))
        assert torch.equal(layer.weight, weights.tensors["weight"])

    def test_strided_tensors_are_written_as_they_read(self):
        weight = torch.randn(4, 2, 3, 3).to(memory_format=torch.channels_last)
        kept = decode_weights(TrainedWeights({"w": weight}, {}).encode(KEY, DIGEST), KEY, DIGEST)
        assert torch.equal(kept.tensors["w"], weight)

    @given(place=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
    def test_any_flipped_bit_is_found(self, place, bit):
        content = bytearray(WRITTEN)
        content[place % len(content)] ^= 1 << bit
        with pytest.raises(BrokenSealError):
            decode_weights(bytes(content), KEY, DIGEST)

    @given(length=st.integers(min_value=0, max_value=200))
    def test_a_part_of_it_is_none(self, length):
        with pytest.raises(BrokenSealError):
            decode_weights(WRITTEN[:length], KEY, DIGEST)

    @pytest.mark.parametrize("key_and_digest", [(OTHER, DIGEST), (KEY, ELSEWHERE)])
    def test_weights_of_another_run_are_refused(self, key_and_digest):
        with pytest.raises(BrokenSealError, match="another run"):
            decode_weights(trained().encode(KEY, DIGEST), *key_and_digest)

    def test_a_header_of_any_length_does_not_fill_the_memory(self):
        with pytest.raises(BrokenSealError, match="cut off"):
            decode_weights(struct.pack("<Q", 2**60) + b"{}", KEY, DIGEST)


class TestTheStore:
    @pytest.fixture
    def store(self, place):
        store = Store(place)
        store.prepare()
        return store

    def test_finds_what_was_kept(self, store):
        store.weights.keep(trained(), KEY, DIGEST)
        found, is_same = store.weights.find(KEY, DIGEST)
        assert is_same
        assert same(found, trained())
        assert store.weights.keys() == {KEY}
        assert store.weights.find(OTHER, DIGEST) is None

    def test_of_two_trainings_that_which_landed_counts(self, store):
        store.weights.keep(trained(0), KEY, ELSEWHERE)
        found, is_same = store.weights.find(KEY, DIGEST)
        assert not is_same
        assert same(found, trained(0))
        store.weights.keep(trained(1), KEY, DIGEST)
        found, is_same = store.weights.find(KEY, DIGEST)
        assert is_same
        assert same(found, trained(1))

    def test_what_is_kept_for_now_stays_or_goes(self, store):
        for key in (KEY, OTHER):
            store.weights.keep(trained(), key, DIGEST, for_now=True)
        assert store.weights.keys() == set()
        assert store.weights.find(KEY, DIGEST) is not None
        store.weights.settle([KEY])
        assert store.weights.keys() == {KEY}
        assert store.weights.drop([KEY, OTHER]) == 1
        assert store.weights.find(OTHER, DIGEST) is None
        assert store.weights.find(KEY, DIGEST) is not None

    def test_settling_again_changes_nothing(self, store):
        store.weights.keep(trained(), KEY, DIGEST, for_now=True)
        store.weights.keep(trained(), KEY, DIGEST)
        store.weights.settle([KEY])
        store.weights.settle([KEY])
        assert store.weights.keys() == {KEY}
        assert store.weights.drop([KEY]) == 0

    def test_withdrawn_runs_take_theirs_along(self, store):
        store.weights.keep(trained(), KEY, DIGEST)
        store.withdraw([KEY])
        assert store.weights.find(KEY, DIGEST) is None

    @pytest.mark.parametrize("for_now", [False, True])
    def test_damage_is_set_aside_and_written_again(self, store, for_now):
        blobs = store.weights.so_far if for_now else store.weights.kept
        store.weights.keep(trained(), KEY, DIGEST, for_now=for_now)
        (name,) = blobs.names()
        blobs.replace(name, blobs.read(name)[:-1])
        with pytest.raises(BrokenSealError, match="checksum"):
            store.weights.find(KEY, DIGEST)
        assert store.verify(weights=False) == []
        (damage,) = store.verify()
        assert damage.is_aside
        assert store.weights.find(KEY, DIGEST) is None
        store.weights.keep(trained(), KEY, DIGEST, for_now=for_now)
        assert same(store.weights.find(KEY, DIGEST)[0], trained())

    def test_who_writes_over_damage_repairs_it(self, store):
        store.weights.keep(trained(), KEY, DIGEST)
        (name,) = store.weights.kept.names()
        store.weights.kept.replace(name, b"cut")
        store.weights.keep(trained(), KEY, DIGEST)
        assert store.weights.find(KEY, DIGEST)[1]
        assert store.num_set_aside() == 1

    def test_strange_names_are_set_aside(self, store):
        store.weights.kept.create("strange", b"content")
        (damage,) = store.verify()
        assert "not that of weights" in damage.problem
