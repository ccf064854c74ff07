"""The probe of the largest stable learning rate."""

import math

import pytest
from tiny_studies import clouds

from widthwise import families
from widthwise.study.measured import stable_learning_rate
from widthwise.training import PackJob, Replica, train_pack


def family(parameterization):
    return families.mlp((2, 3), 3, base_width=4, parameterization=parameterization)


def all_stable(network, data, rate):
    job = PackJob(
        widening_factor=2.0,
        batch_size=min(64, data.num_train),
        steps=200,
        replicas=tuple(Replica(learning_rate=rate, momentum=0.9, seed=s) for s in range(3)),
        evaluations=8,
    )
    return all(result.status == "ok" for result in train_pack(network, data, job))


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_it_is_stable_and_half_an_octave_more_is_not(parameterization):
    network, data = family(parameterization), clouds()
    found = stable_learning_rate(network, data, 2.0, 0.9, max_replicas=16)
    assert all_stable(network, data, found)
    assert not all_stable(network, data, found * math.sqrt(2.0))


@pytest.mark.slow
def test_the_size_of_the_packs_does_not_matter():
    network, data = family("ntk"), clouds()
    found = {
        stable_learning_rate(network, data, 1.0, 0.0, max_replicas=count) for count in (1, 7, 200)
    }
    assert len(found) == 1
