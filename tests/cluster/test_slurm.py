"""Real Slurm on this machine: a controller and two nodes, as daemons of their own."""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from cluster_place import Place, finish, is_alive, wait_for

MISSING = [
    *(f"{name} is not installed" for name in ("slurmctld", "slurmd") if not shutil.which(name)),
    *(["submitit is not installed"] if importlib.util.find_spec("submitit") is None else []),
    *(["Slurm's daemons need root"] if os.geteuid() else []),
]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=", ".join(MISSING)),
]

NODES = ("one", "two")
SLURMD_TIMEOUT = 10
CONF = """
ClusterName=tiny
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdTimeout={timeout}
KillWait=5
MpiDefault=none
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=1000
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=1000
PartitionName=main Nodes=one,two Default=YES State=UP MaxTime=INFINITE
"""


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Slurm:
    """A controller and two nodes, started in a folder."""

    def __init__(self, folder):
        host = socket.gethostname().partition(".")[0]
        conf, self.log = folder / "slurm.conf", folder / "log"
        conf.write_text(
            CONF.format(host=host, ports=free_ports(3), folder=folder, timeout=SLURMD_TIMEOUT)
        )
        for name in ("state", *(f"spool.{node}" for node in NODES)):
            (folder / name).mkdir()
        self.environment = {"SLURM_CONF": str(conf)}
        self.daemons = {"controller": self._daemon("slurmctld", "-D", "-i")}
        for node in NODES:
            self.daemons[node] = self._daemon("slurmd", "-D", "-N", node)
        wait_for(lambda: self.states() == dict.fromkeys(NODES, "idle"), f"nodes; see {self.log}")

    def _daemon(self, *command):
        with self.log.open("a") as log:
            environment = {**os.environ, **self.environment}
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def ask(self, *command):
        """What a command of Slurm's prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout

    def states(self):
        said = self.ask("sinfo", "--noheader", "--Node", "--format=%N %t").split()
        return dict(zip(said[::2], said[1::2], strict=True))

    def queue(self):
        """Job of the array → (its state, its node or why it has none)."""
        rows = self.ask("squeue", "--noheader", "--array", "--format=%i %T %R").splitlines()
        return {job: (state, where) for job, state, where in (r.split(maxsplit=2) for r in rows)}

    def cut_power(self, node):
        """End a node with all that runs on it, at once."""
        jobs = self.ask("squeue", "--noheader", f"--nodelist={node}", "--format=%A").split()
        self.daemons[node].kill()
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            step = any(command.startswith(f"slurmstepd: [{job}.") for job in jobs)
            ours = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode() in variables
            if step or (ours and f"SLURMD_NODENAME={node}".encode() in variables):
                os.kill(int(entry.name), signal.SIGKILL)

    def close(self):
        self.ask("scancel", "--me")
        deadline = time.monotonic() + 10
        while self.queue() and time.monotonic() < deadline:
            time.sleep(0.2)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


@pytest.fixture
def place(tmp_path):
    here = Place(tmp_path)
    yield here
    here.close()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    cluster = Slurm(tmp_path_factory.mktemp("slurm"))
    yield cluster
    cluster.close()


def test_detached_workers_go_on_by_themselves(slurm, place, undisturbed):
    arguments = ("run", place.spec, "-o", place.study, "--on", "slurm", "--workers", 2)
    code, out, err = place.call(*arguments, "--detach", **slurm.environment)
    assert code == 0, err
    assert f"watch with: widthwise status {place.study}" in out
    assert not place.landed()
    wait_for(lambda: len(place.landed()) == 96, "all runs")
    place.same_as(undisturbed.results())
    # Nothing is left: no worker is started.
    code, _, err = place.call(*arguments, **slurm.environment)
    assert (code, err) == (0, "all 96 runs are there\nwriting the report …\n")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('partition = "none"', "Slurm took no job: sbatch: error: .*[Ii]nvalid partition"),
        ('extra = { qoss = "low" }', "slurm.extra: Unknown argument 'qoss'"),
    ],
)
def test_what_is_refused_is_said_in_a_line(slurm, place, table, message):
    (place.folder / "cluster.toml").write_text(f"[slurm]\n{table}\n")
    code, _, err = place.call(
        "run", place.spec, "-o", place.study, "--on", "slurm", "--workers", 2, **slurm.environment
    )
    assert code == 2
    assert re.search(message, err), err
    assert len(err.splitlines()) == 1


def test_a_worker_is_preempted_and_a_node_is_lost(slurm, place, undisturbed):
    """Last: one node is left."""
    place.gate.touch()
    # A job of less than ten minutes counts as out of time whenever USR2 comes: submitit queues it
    # again only if its work has a method of the right name.
    (place.folder / "cluster.toml").write_text('[slurm]\npartition = "main"\ntime = "9m"\n')
    driver = place.start(
        "run", place.spec, "-o", place.study, "--on", "slurm", "--workers", 4, **slurm.environment
    )
    wait_for(lambda: len({b["task"] for b in place.begun()}) == 4 or driver.poll(), "four workers")
    assert driver.poll() is None, finish(driver)
    first = {begun["task"]: begun for begun in place.begun()}
    assert {begun["node"] for begun in first.values()} == set(NODES)
    _, out, _ = place.call("status", place.study)
    assert "runs   0 of 96" in out
    assert "16 in flight, the first of them for 0:" in out
    assert "80 waiting" in out

    # Slurm wants a place back: the worker is queued again, and held for two minutes.
    (array,) = {job.partition("_")[0] for job in slurm.queue()}
    preempted = next(task for task, begun in first.items() if begun["node"] == "one")
    job = f"{array}_{preempted}"
    slurm.ask("scancel", "--signal=USR2", job)
    wait_for(lambda: slurm.queue().get(job, "?")[0] == "PENDING", "its requeue")
    wait_for(lambda: not is_alive(first[preempted]["process"]), "its end")
    slurm.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
    wait_for(
        lambda: [b for b in place.begun() if (b["task"], b["restarts"]) == (preempted, 1)],
        "that it goes on",
    )

    lost = [begun for begun in first.values() if begun["node"] == "two"]
    slurm.cut_power("two")
    place.gate.unlink()
    wait_for(lambda: slurm.states()["two"].startswith("down"), "that the node is missed")
    code, out, err = finish(driver)
    assert code == 0, err
    assert str(place.study / "report.html") in out
    assert "Slurm job" in err
    for begun in lost:
        others = [b for b in place.begun() if b["process"] != begun["process"]]
        assert any(set(b["keys"]) & set(begun["keys"]) for b in others)
    place.same_as(undisturbed.results())
    assert all(state == "COMPLETING" for state, _ in slurm.queue().values())
