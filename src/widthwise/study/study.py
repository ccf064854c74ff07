"""A study: create or open it, and run it; what it found is :mod:`widthwise.study.landed`."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any, Self

from torch import nn

from widthwise.errors import FitError, InputError, StudyError
from widthwise.execution import EXECUTORS, MakeExecutor, available_cores
from widthwise.families import refuse_while_importing
from widthwise.families.beside import look_in, working_directories
from widthwise.files import whole_path
from widthwise.hardware import idle_card_note, precision_note
from widthwise.probes import StableLearningRate
from widthwise.runs.address import place_of
from widthwise.runs.folder import Folder
from widthwise.runs.weights import TrainedWeights
from widthwise.study.context import (
    Context,
    load_context,
    load_family,
    on_this_machine,
)
from widthwise.study.elsewhere import ClusterSpec, Elsewhere
from widthwise.study.landed import Landed
from widthwise.study.posing import given_data, pose
from widthwise.study.progress import ProgressReporter, make_reporter
from widthwise.study.rates_file import RATES_FILE, MeasuredRates
from widthwise.study.record import StudyRecord
from widthwise.study.running import Runner
from widthwise.study.schedule import Schedule
from widthwise.study.scheduling import Scheduler
from widthwise.study.spec import StudySpec
from widthwise.study.stable_rates import (
    ProbeOptions,
    measured_rates,
    reported,
)
from widthwise.study.tracking import (
    Tracking,
    findings,
    log_all,
    named_tracker,
    named_trackers,
    tracked,
    tracked_study,
)
from widthwise.study.trained import ChosenRun, Resumed, chosen_row, resumed, trained_module
from widthwise.study.variation import parameterization_doubts, seed_doubts
from widthwise.trackers import Findings, Tracker


class Study(Landed):
    """A width study in a directory. Use :meth:`create` or :meth:`open`."""

    def __init__(
        self, directory: Path, record: StudyRecord, *, context: Context | None = None
    ) -> None:
        super().__init__(directory, record)
        self._known_context = context
        self._note: str | None = None

    @classmethod
    def create(
        cls,
        directory: str | Path,
        spec: StudySpec | Mapping[str, Any] | str | Path,
        *,
        data: Any = None,
        overrides: Iterable[str] = (),
        store: str | Path | None = None,
        yes: bool = False,
    ) -> Self:
        """Begin a study, go on with it, or change what it asks: runs that have landed are kept, and
        those that are asked for are used. The directory asks what ``spec`` asks, no more: if runs
        that have landed are no longer asked for, as those of seeds or widths that it leaves out,
        one line on standard error says so, as on the command line.

        Args:
            directory: where everything about it is kept; made if it is not there.
            spec: a :class:`StudySpec`, a dict, or the path of a TOML or JSON file.
            data: examples instead of those that ``spec`` names, kept in the directory: a
                :class:`Dataset`, taken as it is, or whatever :meth:`Dataset.of` takes, of which
                ``spec`` says how many, and how they are prepared.
            overrides: "key=value", as ``--set`` on the command line.
            store: folder or address of the runs, if several studies share them; None takes what
                ``spec`` says.
            yes: whether to go on although none of the runs that are there would be used.

        Raises:
            InputError: if the specification is wrong, the data are not here, the directory cannot
                be written, or none of the runs that are there would be used.
        """
        refuse_while_importing()
        directory = whole_path(directory)
        asked = StudySpec.parse(spec, overrides)
        if store is not None:
            place = place_of(store)
            whole = whole_path(place) if isinstance(place, Path) else place
            asked = asked.model_copy(update={"store": str(whole)})
        posed = pose(directory, asked, given_data(data, asked.data), yes=yes)
        study = cls(directory, posed.record, context=posed.context)
        study._note = posed.change
        if posed.narrows and posed.change is not None:  # said at once, whoever asks, and once
            make_reporter(False).warn(posed.change)
            study._note = None
        return study

    @cached_property
    def _scheduler(self) -> Scheduler:
        self._require_new()
        return Scheduler.of(self._context, self.directory, self._store)

    @property
    def schedule(self) -> Schedule:
        """Packs of all its runs, whether they have landed or not; of an adaptive search those of
        the rounds that have begun. Measures first how many runs a pack should hold, and the
        largest stable learning rates if the grid is written in noise scales; what was measured is
        kept.
        """
        return self._scheduler.schedule(self._scheduler.rounds)

    @property
    def plan(self) -> Schedule:
        """Deprecated: :attr:`schedule`."""
        warnings.warn(
            "Study.plan is called Study.schedule; a plan is what widthwise.widen returns",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.schedule

    def run(
        self,
        workers: int | None = None,
        *,
        progress: bool = True,
        executor: str | MakeExecutor = "local",
        seconds: float | None = None,
        track: Iterable[str | Tracker] = (),
    ) -> bool:
        """Train whatever is not there yet; whether nothing is left. Interrupt it at any time; run
        it again to go on. Any number of processes, on all machines that reach its store, can do
        that at once: each takes runs that no other holds.

        Args:
            workers: processes, one core each; None takes every core available.
            progress: show what is going on, on standard error.
            executor: who trains the packs: a name in :data:`widthwise.execution.EXECUTORS`, or a
                function of the number of workers that makes an executor.
            seconds: how long at most; None until nothing is left.
            track: where runs are logged as they land, whoever trained them: names as
                :meth:`track` takes them, or "NAME=PLACE", or trackers. One that fails costs a
                warning.

        Raises:
            InputError: if something of the user's is wrong, or the disk is full.
            StudyError: if runs could not be trained, all others having landed.
        """
        refuse_while_importing()
        if seconds is not None and not seconds > 0.0:
            raise InputError(f"seconds must be above 0, got {seconds}", fields=("seconds",))
        until = None if seconds is None else monotonic() + seconds
        self._require_new()
        make_executor = _executor_by_name(executor) if isinstance(executor, str) else executor
        trackings = [self._tracking(one) for one in named_trackers(track, self.directory)]
        reporter = make_reporter(progress)
        self._prepare(reporter)
        with reporter.waiting("laying out the runs"):
            scheduler = self._scheduler
        for note in (
            precision_note(self.spec.training.precision, scheduler.context.device),
            idle_card_note(self.spec.hardware.device),
        ):
            if note is not None:
                reporter.note(note)
        context = scheduler.context
        for doubt in (*seed_doubts(context), *parameterization_doubts(context)):
            reporter.warn(doubt)
        at_once = available_cores() if workers is None else workers
        with tracked(trackings, reporter.warn) as said:
            done = Runner(
                directory=self.directory,
                store=self._store,
                scheduler=scheduler,
                results=lambda: self.results(curves=True),
                reporter=reporter,
                executor=make_executor(at_once),
                workers=at_once,
                until=until,
            ).run()
            if done and trackings:
                said.extend(self._findings())
        self._store.sweep()
        return done

    def run_on(
        self,
        on: str,
        workers: int,
        *,
        cluster: ClusterSpec | Mapping[str, Any] | str | Path | None = None,
        detach: bool = False,
        progress: bool = True,
        track: Iterable[str | Tracker] = (),
    ) -> bool:
        """Have workers on a cluster train whatever is not there yet; whether nothing is left. This
        process trains nothing. Interrupted, it stops them; run it again to go on.

        Args:
            on: "slurm" or "ray".
            workers: how many to start; each trains until nothing is left.
            cluster: what each is given: a :class:`widthwise.study.elsewhere.ClusterSpec`, a dict,
                or the path of a file; None takes the defaults.
            detach: return as soon as they are started.
            progress: show what is going on, on standard error.
            track: as for :meth:`run`; by this process, which must not be detached.

        Raises:
            InputError: if something of the user's is wrong, or the cluster is not here.
            StudyError: if all workers have ended and runs are missing.
        """
        refuse_while_importing()
        if workers < 1:
            raise InputError(f"workers must be at least 1, got {workers}", fields=("workers",))
        if not isinstance(cluster, ClusterSpec):
            cluster = ClusterSpec.parse(cluster)
        self._require_new()
        trackings = [self._tracking(one) for one in named_trackers(track, self.directory)]
        if detach and trackings:
            raise InputError(
                "track: nobody would log what lands after detach; leave one of them out, or log "
                "all of it afterwards with `widthwise track`",
                fields=("track", "detach"),
            )
        reporter = make_reporter(progress)
        self._prepare(reporter)
        elsewhere = Elsewhere(
            directory=self.directory,
            store=self._store,
            context=self._context,
            reporter=reporter,
            work=lambda processes: Pull(self.directory, processes, tuple(working_directories())),
        )
        with tracked(trackings, reporter.warn) as said:
            done = elsewhere.run(on, workers, cluster, detach=detach)
            if done and trackings:
                said.extend(self._findings())
        return done

    def track(self, to: str | Tracker, *, at: str | Path | None = None) -> int:
        """Log its runs to an experiment tracker, those that are not there yet; how many that were.
        If all that it asks for have landed, what they say is logged, too.

        Args:
            to: "tensorboard", "mlflow" or "wandb", or a tracker of one's own, a
                :class:`widthwise.trackers.Tracker`.
            at: a folder, or an address that the tracker knows; None takes its own environment
                variable, or else a place in the study's folder.

        Raises:
            InputError: if there is no such tracker, its package is missing, or the place cannot be
                written.
            StudyError: if the tracker fails.
        """
        place = None if at is None else str(at)
        tracker = named_tracker(to, self.directory, at=place, argument="to")
        now = self.status()
        is_done = 0 < now.runs_landed == now.runs_planned
        return log_all(self._tracking(tracker), self._findings()[-1] if is_done else None)

    def probe(
        self,
        options: ProbeOptions | None = None,
        *,
        widths: Iterable[float] | None = None,
        progress: bool = True,
        on_rate: Callable[[StableLearningRate], None] = lambda rate: None,
    ) -> MeasuredRates:
        """Measure the largest stable learning rate at its widths, with its data and recipe.

        Each is kept with the study as soon as it is known, measured once, and shown by
        :meth:`report` from then on.

        Args:
            options: how a width is measured; None are the defaults.
            widths: widening factors; None takes those of its grids.
            progress: show what is going on, on standard error.
            on_rate: told each width's rate as soon as it is known.

        Raises:
            InputError: if data or family are not those of its question, an option is out of range,
                or rates were kept that were measured with other options.
            FitError: if no learning rate is stable at a width.
        """
        refuse_while_importing()
        self._require_new()
        chosen = options or ProbeOptions()
        return measured_rates(
            on_this_machine(self.spec),
            self.directory / RATES_FILE,
            dataset=self._context.dataset,
            family=self._record.family,
            widths=widths,
            options=chosen,
            measure=reported(chosen, make_reporter(progress)),
            on_rate=on_rate,
        )

    def module(self, run: ChosenRun = "best") -> nn.Module:
        """The trained network of a run whose weights were kept, in evaluation mode: on the test
        examples it scores what the run's curves end with.

        Args:
            run: "best" (of the best setting of all widths the first seed), the ``run_id`` of a run,
                or a row of :meth:`results` or :meth:`best`.

        Raises:
            InputError: if its weights were not kept, or the code of its networks has changed.
        """
        refuse_while_importing()
        self._require_new()
        return self._trained(run)[1].eval()

    def resume(self, run: ChosenRun = "best") -> Resumed:
        """A run whose weights were kept, to be trained on as if it had never ended: the network,
        ``torch.optim.SGD`` with its momentum buffers, the batches that come next, and the loss.

        Args:
            run: as for :meth:`module`.

        Raises:
            InputError: as for :meth:`module`, and if data are not those of its question.
        """
        refuse_while_importing()
        self._require_new()
        training = self.spec.training
        row, module, weights = self._trained(run)
        dataset = self._context.dataset
        return resumed(module, weights, dataset, training.recipe, training.sampling, row)

    def _trained(self, run: ChosenRun) -> tuple[dict[str, Any], nn.Module, TrainedWeights]:
        row = chosen_row(self.results(curves=True), run)
        known = self._known_context
        family = load_family(self.directory, self._record) if known is None else known.family
        keeps = str(self.spec.keep.model_dump(mode="json"))
        module, weights = trained_module(
            self._store, family, self.spec.training.recipe, row, keeps=keeps
        )
        return row, module, weights

    def _prepare(self, reporter: ProgressReporter) -> None:
        """Before runs are trained here or elsewhere."""
        if self._note is not None:
            reporter.note(self._note)
        data = self._record.data
        if "data" not in self.spec.model_fields_set and not data.in_memory:
            reporter.note(f"no data are named: {data.name}, {data.num_train} training examples")
        Folder(self.directory).make()
        self._store.prepare()
        for damage in self._store.verify(weights=False):
            reporter.warn(f"{damage}; what it held is repeated")

    @property
    def _context(self) -> Context:
        """Data and networks, which only training and measuring need."""
        return self._known_context or load_context(self.directory)

    def _tracking(self, tracker: Tracker) -> Tracking:
        # Of its own: another thread reads while this one trains.
        reader = Landed(self.directory, self._record)
        asked = tracked_study(self.directory, self._record)
        return Tracking(asked, lambda known: reader._results(without=known)[0], tracker)

    def _findings(self) -> list[Findings]:
        """What it says, for trackers; nothing if it has no runs."""
        results = self.results(curves=True)
        return [] if results.is_empty() else [findings(self._summary(results), len(results))]


@dataclass(frozen=True)
class Pull:
    """What a worker elsewhere does: it trains runs of a study until nothing is left.

    Attributes:
        directory: of the study, which is reached there by the same path.
        processes: how many it trains in.
        places: working directories in which the user's modules are found.
    """

    directory: Path
    processes: int
    places: tuple[str, ...] = ()

    def __call__(self) -> str | None:
        look_in(self.places)
        try:
            Study.open(self.directory).run(self.processes)
        except (InputError, StudyError, FitError) as error:
            return " ".join(str(error).split())
        return None


def _executor_by_name(name: str) -> MakeExecutor:
    if name not in EXECUTORS:
        raise InputError(f"executor must be one of {', '.join(EXECUTORS)}, got {name!r}")
    return EXECUTORS[name]
