"""A thousand workers on one store, some of them lost: by simulation, for nobody has so many here.

The claiming, beating, landing, merging and checkpoints are the package's own; the store is in
memory, behind requests that take time, are answered by errors, or whose answers get lost. Training
is the passing of simulated seconds. Needs greenlet (extra cluster-tests).

    python -m validation.many_workers --output validation/many_workers.md

Takes half an hour of one core; the figure goes into "figures" beside the page.
"""

import argparse
import contextlib
import heapq
import itertools
import json
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any, Self, TypeVar

import numpy as np
from greenlet import getcurrent, greenlet
from matplotlib.figure import Figure

from benchmarks.synthetic import group, hyper_parameters, synthetic_run
from benchmarks.tables import table
from widthwise.runs.address import Address
from widthwise.runs.blobs import Blobs
from widthwise.runs.landing import Landing
from widthwise.runs.leases import write_beat
from widthwise.runs.memory import Memory
from widthwise.runs.store import Store
from widthwise.study.turns import in_own_order, next_pause

SECONDS_BETWEEN_BEATS = 5.0  # as widthwise.runs.leases
SECONDS_BETWEEN_CHECKPOINTS = 60.0  # widthwise.study.pack_call: 15
MOST_WASTED = 0.02
_AT_ONCE = 32  # requests, where many are made: as widthwise.runs.cloud
_MINUTE = 60.0
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is simulated; times in seconds.

    Attributes:
        workers: at a time; each trains one pack after the other.
        runs: of the study.
        runs_in_pack: of each.
        run: mean time that a run takes; packs vary by a factor of e^±0.5.
        between_losses: of a worker, mean; another starts two minutes after.
        latency: of a request, median.
        busy: share of the requests that are answered by an error or not at all; half of these have
            been carried out.
        apart: clocks differ by up to so much, and go up to 1 % faster or slower.
    """

    workers: int = 1000
    runs: int = 100_000
    runs_in_pack: int = 20
    run: float = 30.0
    between_losses: float = _MINUTE
    latency: float = 0.03
    busy: float = 0.02
    apart: float = 10 * _MINUTE


class LostError(BaseException):
    """As a process is killed: nothing may catch it and go on."""


class World:
    """Simulated time, and all that waits for it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._hub = getcurrent()
        self._waiting: list[tuple[float, int, Callable[[], object]]] = []
        self._number = itertools.count()

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        heapq.heappush(self._waiting, (self.now + seconds, next(self._number), act))

    def wait(self, seconds: float) -> None:
        """Called by what was started: others go on meanwhile."""
        self.after(seconds, getcurrent().switch)
        self._hub.switch()

    def start(self, work: Callable[[], object]) -> None:
        self.after(0.0, greenlet(work, parent=self._hub).switch)

    def run(self) -> None:
        while self._waiting:
            self.now, _, act = heapq.heappop(self._waiting)
            act()


class Worker:
    """One process: a :class:`widthwise.runs.leases.Party` with a clock that nobody else has."""

    def __init__(self, world: World, store: Memory, rng: random.Random, apart: float) -> None:
        self.seen: dict[str, tuple[int, float]] = {}
        self.refusals: dict[Path | Address, tuple[int, float]] = {}
        self.is_lost = self.is_done = False
        self.trained = 0.0
        self.began, self.ended = world.now, 0.0
        self.name = f"{rng.getrandbits(128):032x}"
        self._world, self._holders = world, store.part("holders")
        self._ahead, self._rate = rng.uniform(-apart, apart), rng.uniform(0.99, 1.01)
        self._number = 0

    def now(self) -> float:
        return self._world.now * self._rate + self._ahead

    @contextlib.contextmanager
    def present_in(self, holders: Blobs) -> Iterator[str]:
        if not self._number:
            self._beat()
        yield self.name

    def _beat(self) -> None:
        if self.is_lost or self.is_done:
            return
        self._number += 1
        process = {"machine": self.name, "pid": 1, "started": "0"}
        write_beat(self._holders, self.name, self._number, process)
        self._world.after(SECONDS_BETWEEN_BEATS * self._rate, self._beat)


class Remote:
    """The store as one worker sees it: :class:`widthwise.runs.blobs.Parts`."""

    def __init__(self, store: Memory, network: "Network", worker: Worker) -> None:
        self._store, self._network, self._worker = store, network, worker

    def part(self, name: str) -> "RemoteBlobs":
        return RemoteBlobs(self._store.part(name), self._network, self._worker)


class Network:
    """What requests meet on the way, and how many there were."""

    def __init__(self, world: World, rng: random.Random, setting: Setting) -> None:
        self.requests = Counter[str]()
        self._world, self._rng, self._setting = world, rng, setting
        self._usual = math.log(setting.latency)

    def ask(self, worker: Worker, what: str, carry_out: Callable[[], _Answer]) -> _Answer:
        """The answer to a request, in the end. Whoever created something knows it though the first
        answer got lost, as in widthwise.runs.cloud."""
        answers: list[_Answer] = []
        for number in itertools.count():
            self.requests[what] += 1
            self._pass(worker, self._rng.lognormvariate(self._usual, 0.5))
            fault = self._rng.random()
            if fault >= self._setting.busy:
                return answers[0] if answers else carry_out()
            if fault < self._setting.busy / 2 and not answers:
                answers.append(carry_out())
            self._pass(worker, self._rng.uniform(0.0, min(5.0, 0.05 * 2**number)))
        raise AssertionError("there is always another attempt")

    def _pass(self, worker: Worker, seconds: float) -> None:
        self._world.wait(seconds)
        if worker.is_lost:
            raise LostError


class RemoteBlobs(Blobs):
    """Blobs that are asked for over the network."""

    def __init__(self, blobs: Any, network: Network, worker: Worker) -> None:
        self.place: Address = blobs.place
        self._blobs, self._network, self._worker = blobs, network, worker
        self._known: dict[str, Hashable] = {}  # small contents are kept while they stay the same

    def _ask(self, what: str, carry_out: Callable[[], _Answer]) -> _Answer:
        return self._network.ask(self._worker, what, carry_out)

    def make(self) -> None:
        pass

    def names(self) -> list[str]:
        return self._ask("list", self._blobs.names)

    def strangers(self) -> list[str]:
        return []

    def read(self, name: str) -> bytes | None:
        return self._ask("read", lambda: self._blobs.read(name))

    def read_each(self, names: Sequence[str]) -> Iterator[tuple[str, bytes | OSError | None]]:
        new = [name for name in names if self._known.get(name) != self._blobs.mark(name)]
        for first in range(0, len(new), _AT_ONCE):  # the others come at the same time
            self._network.requests["read"] += len(new[first : first + _AT_ONCE]) - 1
            self._ask("read", lambda: None)
        for name in names:
            self._known[name] = self._blobs.mark(name)
            yield name, self._blobs.read(name)

    def create(self, name: str, content: bytes, *, durable: bool = True) -> bool:
        return self._ask("create", lambda: self._blobs.create(name, content))

    def replace(self, name: str, content: bytes, *, durable: bool = True) -> None:
        self._ask("replace", lambda: self._blobs.replace(name, content))

    def remove(self, name: str) -> None:
        self._ask("remove", lambda: self._blobs.remove(name))

    def remove_each(self, names: Sequence[str]) -> None:
        if names:
            self._ask("remove", lambda: self._blobs.remove_each(names))

    def age(self, name: str) -> float:
        return float(self._blobs.age(name))

    def mark(self, name: str) -> Hashable | None:
        return self._blobs.mark(name)  # known from the list

    def move(self, name: str, target: Self) -> Address | None:
        return self._ask("move", lambda: self._blobs.move(name, target._blobs))


@dataclass(frozen=True)
class Pack:
    """Runs that are trained together, in so many seconds."""

    @property
    def flops(self) -> float:
        return self.seconds

    name: str
    numbers: range
    keys: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a simulation; times in seconds.

    Attributes:
        lost, twice: runs that did not land, or of which two workers were told that they were first.
        wrong: runs whose row is not that of the worker who was told so.
        workers_lost: how many.
        needed: work of all runs, each once.
        trained: work that was done.
        manned: worker time.
        makespan: until the last worker ended.
        requests: kind → how many.
        landed_at: when each run landed.
    """

    lost: int
    twice: int
    wrong: int
    workers_lost: int
    needed: float
    trained: float
    manned: float
    makespan: float
    requests: Counter[str]
    landed_at: Sequence[float]

    @property
    def wasted(self) -> float:
        """Share of the work that was done which led to nothing."""
        return 1.0 - self.needed / self.trained

    @property
    def is_sound(self) -> bool:
        return not (self.lost or self.twice or self.wrong) and self.wasted < MOST_WASTED


def simulate(setting: Setting, seed: int = 0) -> Outcome:
    """A study from its first claim to its last landing."""
    rng = random.Random(seed)
    world = World()
    example = synthetic_run(0, group(2))  # what was measured is the same for all
    memory = Memory(lambda: world.now)
    network = Network(world, rng, setting)
    packs = _packs(setting, rng)
    firsts: dict[str, list[str]] = {}
    landed_at: list[float] = []
    workers: list[Worker] = []

    def train(worker: Worker, store: Store, pack: Pack) -> None:
        with store.leases.hold(pack.keys) as mine:
            if not mine:
                return
            missing = store.missing(pack.keys)
            if not missing:
                return
            state = store.checkpoints.read(pack.name, pack.keys)
            done = 0.0 if state is None else float(json.loads(state))
            while done < pack.seconds:
                seconds = min(SECONDS_BETWEEN_CHECKPOINTS, pack.seconds - done)
                before = world.now
                world.wait(seconds)
                worker.trained += world.now - before
                if worker.is_lost:
                    raise LostError
                done += seconds
                if done < pack.seconds:
                    store.checkpoints.write(pack.name, pack.keys, json.dumps(done).encode())
            for number in pack.numbers:
                landing = _landed_by(worker, number, example)
                if landing.key in missing and store.land(landing):
                    firsts.setdefault(landing.key, []).append(worker.name)
                    landed_at.append(world.now)
            store.checkpoints.forget(pack.name)
        store.compact_if_many()

    def work(worker: Worker) -> None:
        store = Store(Remote(memory, network, worker), worker)
        pause, left = 0.0, packs
        try:
            while left := _left(left, store):
                before, claimed = worker.trained, store.leases.claimed()
                ordered, num_claimed = in_own_order(left, claimed, rng), len(claimed)
                del claimed  # of a thousand workers they would fill the memory
                for pack in ordered:
                    if store.leases.is_crowded():
                        break  # no time passes here: so it is for all that follow
                    if not store.had_landed(pack.keys):
                        train(worker, store, pack)
                pause = next_pause(0.0 if worker.trained > before else pause, num_claimed)
                world.wait(pause)
                if worker.is_lost:
                    raise LostError
            worker.is_done = True
        except LostError:
            pass
        worker.ended = world.now

    def hire() -> None:
        worker = Worker(world, memory, rng, setting.apart)
        workers.append(worker)
        world.start(lambda: work(worker))

    def lose_one() -> None:
        there = [worker for worker in workers if not (worker.is_lost or worker.is_done)]
        if any(worker.is_done for worker in workers) or not there:
            return  # the study is about to end
        rng.choice(there).is_lost = True
        world.after(2 * _MINUTE, hire)
        world.after(rng.expovariate(1 / setting.between_losses), lose_one)

    for _ in range(setting.workers):
        world.after(rng.uniform(0.0, _MINUTE), hire)
    world.after(_MINUTE, lose_one)
    world.run()
    rows, damage = Store(memory).table(columns=["pack"])
    made_by = dict(rows.select("key", "pack").iter_rows())
    asked = {key for pack in packs for key in pack.keys}
    return Outcome(
        lost=len(asked - made_by.keys()) + len(damage),
        twice=sum(len(names) != 1 for names in firsts.values()),
        wrong=sum(made_by.get(key) != names[0] for key, names in firsts.items()),
        workers_lost=sum(worker.is_lost for worker in workers),
        needed=sum(pack.seconds for pack in packs),
        trained=sum(worker.trained for worker in workers),
        manned=sum(worker.ended - worker.began for worker in workers),
        makespan=world.now,
        requests=network.requests,
        landed_at=landed_at,
    )


def _packs(setting: Setting, rng: random.Random) -> list[Pack]:
    found, shared = [], group(2)
    for first in range(0, setting.runs, setting.runs_in_pack):
        numbers = range(first, min(first + setting.runs_in_pack, setting.runs))
        keys = tuple(shared.key(hyper_parameters(number)) for number in numbers)
        varied = rng.lognormvariate(-0.125, 0.5)
        found.append(Pack(f"{first:032x}", numbers, keys, len(numbers) * setting.run * varied))
    return found


def _left(packs: Sequence[Pack], store: Store) -> list[Pack]:
    landed = store.keys()
    return [pack for pack in packs if not landed.issuperset(pack.keys)]


def _landed_by(worker: Worker, number: int, example: Landing) -> Landing:
    """Results say whose they are."""
    return replace(
        example,
        run=hyper_parameters(number),
        provenance={**example.provenance, "pack": worker.name},
    )


def figure(outcome: Outcome) -> Any:
    """Runs that have landed, over time."""
    drawn = Figure(figsize=(6.0, 3.0), layout="constrained")
    axes = drawn.subplots()
    times = np.sort(outcome.landed_at) / 3600.0
    axes.plot(times, np.arange(1, len(times) + 1))
    axes.set(xlabel="simulated hours", ylabel="runs landed", xlim=(0, None), ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    return drawn


def page(setting: Setting, outcome: Outcome, command: str, seconds: float, stem: str) -> str:
    """What was simulated and what came of it, in Markdown."""
    verdict = "Nothing was lost" if outcome.is_sound else "**Not as it should be**"
    waited = 1.0 - outcome.trained / outcome.manned
    longest = next_pause(np.inf, setting.workers * setting.runs_in_pack)
    last = np.sort(outcome.landed_at)
    requests = sorted(outcome.requests.items())
    kinds = ", ".join(f"{number / setting.runs:.1f} {kind}" for kind, number in requests)
    return f"""# {setting.workers} workers, {setting.runs} runs: a simulation

Written by `{command}` in {seconds / 60:.0f} minutes of one core.

{verdict}: {setting.runs - outcome.lost} of {setting.runs} runs landed, each once, while
{outcome.workers_lost} workers were killed. {100 * outcome.wasted:.2f} % of the work led to nothing
(less than {100 * MOST_WASTED:.0f} % is wanted).

![Runs landed over time](figures/{stem}.svg)

{
        table(
            ("what is simulated", ""),
            [
                ("workers at a time; each trains one pack after the other", str(setting.workers)),
                ("runs; runs in a pack", f"{setting.runs}; {setting.runs_in_pack}"),
                ("a run takes, mean", f"{setting.run:g} s; packs vary by a factor of e^±0.5"),
                (
                    "between losses of a worker, mean",
                    f"{setting.between_losses:g} s; another starts two minutes after",
                ),
                (
                    "clocks",
                    f"up to {setting.apart / 60:g} minutes off, up to 1 % too fast or too slow",
                ),
                ("a request takes, median", f"{1000 * setting.latency:g} ms"),
                ("checkpoints of a pack", f"every {SECONDS_BETWEEN_CHECKPOINTS:g} s"),
                (
                    "requests that fail",
                    f"{100 * setting.busy:g} %; half of them have been carried out",
                ),
            ],
        )
    }

{
        table(
            ("what came of it", ""),
            [
                ("runs that did not land", str(outcome.lost)),
                (
                    "runs of which not one worker only was told that it landed them",
                    str(outcome.twice),
                ),
                ("runs with results of another than that worker", str(outcome.wrong)),
                ("workers killed", str(outcome.workers_lost)),
                ("work that was done, in worker hours", f"{outcome.trained / 3600:.1f}"),
                ("of it, what led to nothing", f"{100 * outcome.wasted:.2f} %"),
                ("share of the workers' time without work", f"{100 * waited:.1f} %"),
                (
                    "99 % of the runs had landed after",
                    f"{last[int(0.99 * len(last))] / 3600:.2f} h",
                ),
                ("the last one had landed after", f"{last[-1] / 3600:.2f} h"),
                ("requests a run", kinds),
            ],
        )
    }

Claiming, landing, merging and checkpoints are the package's; the store is in memory, and training
is the passing of simulated seconds. Heartbeats, one in five seconds from each worker, are not among
the requests. A worker without work, at the end mostly, looks again after 1 s, 2 s and so on to
{longest:.0f} s.
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m validation.many_workers", description=__doc__)
    parser.add_argument("--output", type=Path, help="Markdown file; default standard output")
    parser.add_argument("--workers", type=int, default=Setting.workers)
    parser.add_argument("--runs", type=int, default=Setting.runs)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    setting = Setting(workers=args.workers, runs=args.runs)
    started = process_time()
    outcome = simulate(setting, args.seed)
    given = sys.argv[1:] if argv is None else argv
    words = " ".join(["python -m validation.many_workers", *given])
    stem = "many_workers" if args.output is None else args.output.stem
    text = page(setting, outcome, words, process_time() - started, stem)
    if args.output is None:
        print(text)
    else:
        args.output.write_text(text, encoding="utf-8")
        folder = args.output.parent / "figures"
        folder.mkdir(exist_ok=True)
        figure(outcome).savefig(folder / f"{stem}.svg", metadata={"Date": None})
    return int(not outcome.is_sound)


if __name__ == "__main__":
    sys.exit(main())
