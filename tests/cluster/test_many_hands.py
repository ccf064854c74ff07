"""Two terminals and three workers on one folder, as on five machines whose clocks differ; they are
killed again and again."""

import itertools
import os
import random
import subprocess
import sys
import time

import pytest
from cluster_place import PATIENCE, Place, is_alive

from widthwise.runs import leases

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

NUM_KILLS = 20
SECONDS_A_PACK = 1.0
# Of a machine's clock against the file server's.
HANDS = {"run-1": 0, "run-2": 7200, "work-1": -7200, "work-2": 180, "work-3": -86400}
# Loaded by every interpreter when it starts. Another machine is one whose processes cannot be
# looked up, so that only their silence counts.
SITE = """
import os, time
import widthwise.runs.leases as leases

hand, ahead = os.environ["WIDTHWISE_TEST_HAND"], float(os.environ["WIDTHWISE_TEST_AHEAD"])
leases._machine = lambda: hand
of_the_server = time.time
time.time = lambda: of_the_server() + ahead
"""
# Starts a command by forking, so that not every start loads everything; kills it when told to.
NURSERY = """
import os, signal, sys
import widthwise.cli, widthwise.study.study

for line in sys.stdin:
    sys.argv = ["widthwise", *line.strip().split("|")]
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        sys.stdin.close()
        widthwise.cli.main()
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Hand:
    """A machine on which one command runs, started again whenever it is killed."""

    def __init__(self, name, place):
        self.name = name
        verb = name.partition("-")[0]
        what = {"run": [place.spec, "-o", place.study, "--workers", 1, "-q"], "work": [place.study]}
        self._command = "|".join(map(str, [verb, *what[verb]]))
        self._log = (place.folder / f"{name}.log").open("a")
        self._nursery = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(place.folder / "site"),
                "WIDTHWISE_TEST_HAND": name,
                "WIDTHWISE_TEST_AHEAD": str(HANDS[name]),
                "WIDTHWISE_TEST_SECONDS": str(SECONDS_A_PACK),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.start()

    def start(self):
        self._nursery.stdin.write(self._command + "\n")
        self._nursery.stdin.flush()
        self.process = None

    def look(self):
        """The process; waits until there is one."""
        if self.process is None:
            self.process = int(self._nursery.stdout.readline())
        return self.process

    def kill(self):
        os.kill(self.look(), 9)
        return self.wait()

    def wait(self):
        """How it ended, as of waitpid. A report's path goes to the same stream; it is no number."""
        self.look()
        while not (line := self._nursery.stdout.readline().strip()).isdigit():
            assert line or self._nursery.poll() is None
        return int(line)

    def close(self):
        if self.process is not None and is_alive(self.process):
            os.kill(self.process, 9)
        self._nursery.stdin.close()
        self._nursery.wait(30)
        self._nursery.stdout.close()
        self._log.close()


@pytest.fixture
def place(tmp_path):
    here = Place(tmp_path)
    yield here
    here.close()


@pytest.fixture
def hands(place):
    (place.folder / "site").mkdir()
    (place.folder / "site" / "sitecustomize.py").write_text(SITE)
    # Smaller packs, so that there are enough to be interrupted.
    place.spec.write_text(place.spec.read_text().replace("size = 4", "size = 2"))
    started = [Hand("run-1", place)]
    deadline = time.monotonic() + PATIENCE
    while not place.begun():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started += [Hand(name, place) for name in HANDS if name != "run-1"]
    yield started
    for hand in started:
        hand.close()


def test_killed_twenty_times(hands, place, undisturbed):
    moments = random.Random(5)
    killed_at = 0.0
    # Hand → its packs when it was last started: who has begun none since is not killed.
    before = dict.fromkeys(HANDS, 0)
    for _ in range(NUM_KILLS):
        time.sleep(moments.uniform(0.0, 1.0))
        deadline = time.monotonic() + PATIENCE
        while not (working := [h for h in hands if len(_packs(place, h.name)) > before[h.name]]):
            assert time.monotonic() < deadline
            assert len(place.landed()) < 96, "it ended before"
            time.sleep(0.05)
        hand = moments.choice(working)
        assert hand.kill() == 9, "it ended before"
        killed_at = time.time()
        before[hand.name] = len(_packs(place, hand.name))
        hand.start()
    assert [hand.wait() for hand in hands] == [0] * len(hands)
    place.same_as(undisturbed.results())
    landed = [killed_at, *sorted(t for t in place.landed().values() if t > killed_at)]
    longest = max(b - a for a, b in itertools.pairwise(landed))
    # Whoever waits needs a look, a start and a pack besides.
    assert longest < leases._SECONDS_OF_SILENCE + 30.0


def _packs(place, name):
    return [line for line in place.begun() if line["hand"] == name]
