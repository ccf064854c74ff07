"""What a study still lacks while it goes on: runs, and weights of runs that are kept."""

from collections.abc import Collection, Mapping

from widthwise.runs.key import Run
from widthwise.runs.store import Store
from widthwise.study.asked import Asked
from widthwise.study.keeping import Keeper
from widthwise.study.rounds import Rounds
from widthwise.study.schedule import Schedule
from widthwise.study.scheduling import Scheduler


class Lacking:
    """Of the rounds that have begun; of a grid all there is.

    Args:
        scheduler: of the study.
        store: where its runs land.

    Attributes:
        rounds: that have begun.
        asked: the runs that they ask for.
    """

    def __init__(self, scheduler: Scheduler, store: Store) -> None:
        self._scheduler, self._store = scheduler, store
        self._keeper = Keeper.of(scheduler.context, store)
        self.begin(Rounds())

    def begin(self, rounds: Rounds) -> None:
        """Take these rounds for those that have begun."""
        self.rounds, self.asked = rounds, self._scheduler.asked(rounds)
        self._runs = _by_key(self.asked)
        self._wanted = self._keeper.named(self._runs)

    def know_best(self) -> None:
        """All that is asked for has landed: now it is known whose weights are kept."""
        if self._keeper.waits:
            self._wanted = self._keeper.best(self.asked.keys)
            self._store.weights.settle(self._wanted)

    def settle(self) -> None:
        """Nothing is missing: what was kept for now is not kept on."""
        if self._keeper.waits:
            self._store.weights.drop(self.asked.keys)

    def announcement(self) -> str | None:
        """Whose weights are kept; None if nobody's.

        Raises:
            InputError: if settings are named that no run has.
        """
        return self._keeper.announcement(self._runs, is_all=self._scheduler.searched is None)

    def num_again(self) -> int:
        """Runs that have landed and are trained again, for their weights."""
        return len(self._keeper.lacking(self._wanted, self._store.keys()))

    def done(self) -> frozenset[str]:
        """Keys of the runs of which nothing is missing."""
        landed = self._store.keys()
        return landed - self._keeper.lacking(self._wanted, landed)

    def packs(self, given_up: Collection[str] = ()) -> Schedule:
        """Of the others.

        Args:
            given_up: keys of runs that are not tried again.
        """
        schedule = self._scheduler.schedule(self.rounds, self.done().union(given_up))
        return self._keeper.marked(schedule, self._wanted)


def _by_key(asked: Asked) -> Mapping[str, Run]:
    rows = asked.runs.iter_rows(named=True)
    return {row.pop("key"): Run(**row) for row in rows}
