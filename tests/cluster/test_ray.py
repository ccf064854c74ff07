"""A real Ray cluster on this machine: three nodes, as processes of their own."""

import importlib.util
import signal
from pathlib import Path

import pytest
from cluster_place import Place, finish, is_alive, wait_for

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
    # Of Ray's own: sockets and processes that it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture
def place(tmp_path):
    here = Place(tmp_path)
    yield here
    here.close()


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    head = {
        **NODE,
        "include_dashboard": False,
        "labels": {"kind": "small"},
        # A busy machine is not a lost node; one that is killed refuses at once.
        "_system_config": {"health_check_timeout_ms": 60_000},
    }
    nodes = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        nodes.add_node(**NODE, labels={"kind": "large"})
    yield nodes
    nodes.shutdown()


@pytest.fixture
def start(cluster, place):
    """The study on the cluster, on its way."""

    def started(workers, *options):
        where = ("--on", "ray", "--address", cluster.address, "--workers", workers)
        return place.start("run", place.spec, "-o", place.study, *where, *options)

    return started


def at_the_gate(place):
    """Processes that have begun a pack and live."""
    return {b["process"] for b in place.begun() if is_alive(b["process"])}


def ancestors(process):
    found = []
    while process > 1:
        stat = Path(f"/proc/{process}/stat").read_text()
        process = int(stat.rpartition(")")[2].split()[1])
        found.append(process)
    return found


def test_no_cluster(place):
    """Before there is one."""
    code, _, err = place.call(
        "run", place.spec, "-o", place.study, "--on", "ray", "--workers", 1, "--address", "auto"
    )
    assert code == 2
    assert "no Ray cluster answers at --address='auto'" in err
    assert len(err.splitlines()) == 1


def test_a_node_is_lost_and_the_driver_killed_and_interrupted(cluster, start, place, undisturbed):
    place.gate.touch()
    driver = start(3)
    wait_for(lambda: len(at_the_gate(place)) == 3 or driver.poll(), "three workers")
    assert driver.poll() is None, finish(driver)
    three = at_the_gate(place)

    node = next(node for node in cluster.worker_nodes if node is not cluster.head_node)
    cluster.remove_node(node, allow_graceful=False)
    wait_for(lambda: len(at_the_gate(place) & three) == 2, "that its worker is gone")
    place.gate.unlink()
    wait_for(lambda: len(place.landed()) >= 12, "some runs")
    place.gate.touch()

    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    wait_for(lambda: not at_the_gate(place), "that the workers end with the driver")
    landed = place.landed()
    assert len(landed) < 96

    driver = start(2)
    wait_for(lambda: len(at_the_gate(place)) == 2 or driver.poll(), "two workers")
    driver.send_signal(signal.SIGTERM)
    code, _, err = finish(driver)
    assert code == 130, err
    assert "interrupted: " in err
    wait_for(lambda: not at_the_gate(place), "that the workers are cancelled", 10.0)

    place.gate.unlink()
    code, out, err = finish(start(2))
    assert code == 0, err
    assert str(place.study / "report.html") in out
    assert {key: place.landed()[key] for key in landed} == landed
    place.same_as(undisturbed.results())


def test_one_kind_of_node_is_asked_for(cluster, start, place):
    """Two workers that only one node may take: one at a time."""
    file = place.folder / "cluster.toml"
    file.write_text('[ray.labels]\nkind = "small"\n')
    place.gate.touch()
    driver = start(2)
    wait_for(lambda: at_the_gate(place) or driver.poll(), "a worker")
    (process,) = at_the_gate(place)
    head = cluster.head_node.all_processes["raylet"][0].process.pid
    assert head in ancestors(process)
    driver.send_signal(signal.SIGTERM)
    code, _, err = finish(driver)
    assert (code, "interrupted: " in err) == (130, True), err


def test_what_a_worker_finds_wrong_is_said(start, place):
    """Another family than the study asks about, on the workers' machines: here, after it began."""
    place.gate.touch()
    driver = start(1)
    wait_for(lambda: at_the_gate(place) or driver.poll(), "a worker")
    record = place.study / "study.json"
    record.write_text(record.read_text().replace("On a cluster", "Altered"))
    place.gate.unlink()
    code, _, err = finish(driver)
    assert code in (1, 2), err
    assert "study.json" in err


def test_detach_is_refused(place):
    arguments = ("run", place.spec, "-o", place.study, "--on", "ray", "--workers", 1, "--detach")
    code, _, err = place.call(*arguments)
    assert code == 2
    assert "leave --detach out" in err
