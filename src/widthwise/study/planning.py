"""A study's packs: of its whole grid, or of the rounds of a search that have begun."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from widthwise.runs.store import Store
from widthwise.study.context import Context, load_context
from widthwise.study.cost import ModuleCost
from widthwise.study.measured import pack_sizes, stable_learning_rates
from widthwise.study.rounds import Rounds, Searched
from widthwise.study.schedule import Plan, Setting, lay_out, plan_study
from widthwise.theory.noise import normalized_noise_scale


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Everything that a plan depends on, measured once and kept with the study.

    Attributes:
        context: specification, data and family.
        costs: widening factor → cost of its network.
        stable: (widening factor, momentum) → largest stable learning rate, where it is needed.
        pack_sizes: (widening factor, batch size) → runs in a pack.
        searched: the search; None for a grid.
    """

    context: Context
    costs: Mapping[float, ModuleCost]
    stable: Mapping[tuple[float, float], float]
    pack_sizes: Mapping[tuple[float, int], int]
    searched: Searched | None

    @classmethod
    def of(cls, store: Store) -> "Planner":
        """Measures what has not been measured before."""
        context = load_context(store.directory)
        costs = context.costs()
        stable = stable_learning_rates(store, context, costs)
        return cls(
            context=context,
            costs=costs,
            stable=stable,
            pack_sizes=pack_sizes(store, context, costs, stable),
            searched=_searched(context, costs, stable),
        )

    def plan(self, rounds: Rounds) -> Plan:
        """Packs of the whole grid; of a search those of the rounds.

        Every round has packs of its own, so that a later one does not change which runs share
        one.
        """
        if self.searched is None:
            return self._plan(None)
        plans = [self._plan(self.searched.runs(Rounds(rounds=(asked,)))) for asked in rounds.rounds]
        unreachable = self._plan({}).unreachable
        packs = tuple(pack for plan in plans for pack in plan.packs)
        return Plan(packs=packs, unreachable=unreachable)

    def _plan(self, runs: Mapping[Setting, Collection[int]] | None) -> Plan:
        context = self.context
        return plan_study(
            context.spec,
            context.family,
            num_train=context.dataset.num_train,
            num_evaluated=context.num_evaluated,
            data_fingerprint=context.data_fingerprint,
            family_identity=context.family_identity(),
            costs=self.costs,
            stable_learning_rates=self.stable,
            pack_sizes=self.pack_sizes,
            runs=runs,
        )


def _searched(
    context: Context,
    costs: Mapping[float, ModuleCost],
    stable: Mapping[tuple[float, float], float],
) -> Searched | None:
    spec, num_train = context.spec, context.dataset.num_train
    search = spec.search
    if search is None:
        return None
    runs, _ = lay_out(spec, context.family, num_train, stable)
    return Searched(
        search,
        list(runs),
        noise_scale={s: _noise_scale(s, context) for s in runs},
        cost={s: cost_in_search(s, context, costs, search.seeds_at_once) for s in runs},
        num_train=num_train,
        ghost_batch_size=spec.training.ghost_batch_size,
        seed=spec.analysis.seed,
    )


def cost_in_search(
    setting: Setting, context: Context, costs: Mapping[float, ModuleCost], seeds_at_once: int
) -> float:
    """Of a run, in operations, where so many seeds of its setting share a pack."""
    return costs[setting.widening_factor].run_cost(
        setting.steps,
        setting.batch_size,
        replicas=seeds_at_once,
        evaluated=context.spec.training.evaluations * context.num_evaluated,
    )


def _noise_scale(setting: Setting, context: Context) -> float:
    return float(
        normalized_noise_scale(
            setting.learning_rate,
            setting.batch_size,
            setting.momentum,
            init_variance=context.family.init_variance(setting.widening_factor),
        )
    )
