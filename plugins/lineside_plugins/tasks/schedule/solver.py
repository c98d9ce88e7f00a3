"""The CP-SAT model of the schedule. The only module of this task that imports OR-Tools."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from ortools.sat.python import cp_model

from lineside_plugins.tasks.schedule.problem import NOBODY, Problem, Schedule, timetable

FREE_ORDERS = 6


@dataclass(frozen=True, slots=True)
class Limits:
    """When the search stops. ``deterministic_s`` decides, so that equal inputs give equal schedules on any machine.

    ``wall_s`` is a safety bound for a machine that is far too slow; a search it cuts short is not reproducible.
    """

    deterministic_s: float = 0.005
    wall_s: float = 2.0
    seed: int = 7


def improve(problem: Problem, start: Schedule, limits: Limits) -> Schedule:
    """The cheapest schedule CP-SAT finds from ``start`` within ``limits``; ``start`` itself if none is cheaper."""
    sequences = SequenceModel(problem, start).solve(limits)
    found = timetable(problem, sequences) if sequences is not None else start
    return found if found.cost < start.cost else start


class SequenceModel:
    """One circuit through all job orders and a depot per machine.

    The stretch from depot k to the next depot is machine k's sequence. ``begin`` of a job order is where its setup
    starts, ``end`` where its work ends. Every variable has a hint from ``start``, so the first solution is ``start``.
    Of more than ``FREE_ORDERS`` job orders, those of one family that follow each other directly run by due time, unless
    ``start`` has them otherwise: not always optimal, but in the default time it finds the cheaper schedules.
    """

    def __init__(self, problem: Problem, start: Schedule) -> None:
        """Build variables, constraints and objective; about ten milliseconds for a dozen job orders."""
        self._problem = problem
        self._start = start
        self._model = cp_model.CpModel()
        self._cost: list[cp_model.LinearExprT] = []
        self._arcs: dict[tuple[int, int], cp_model.IntVar] = {}
        self._placed = {p.order: p for p in start.placements}
        longest = max(problem.first_setup, *map(max, problem.setup))
        free = max(m.free + (m.window[0] + m.window[1] if m.window else 0) for m in problem.machines)
        self._horizon = free + sum(o.minutes + longest for o in problem.orders)
        count = range(len(problem.orders))
        self._begin = [self._int(0, self._horizon, self._placed[i].begin) for i in count]
        self._end = [self._int(0, self._horizon, self._placed[i].end) for i in count]
        self._add_routes()
        for k in range(len(problem.machines)):
            self._add_window(k)
        self._add_lateness()
        self._add_idling()
        self._model.minimize(cp_model.LinearExpr.sum(self._cost))

    def solve(self, limits: Limits) -> list[list[int]] | None:
        """Sequences per machine of the best solution, or None when the search found none in time."""
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = limits.seed
        solver.parameters.max_deterministic_time = limits.deterministic_s
        solver.parameters.max_time_in_seconds = limits.wall_s
        # For a model this small and this tight each of these takes a third of the budget and gives nothing back.
        solver.parameters.cp_model_presolve = False
        solver.parameters.cp_model_probing_level = 0
        solver.parameters.inprocessing_dtime_ratio = 0.0
        solver.parameters.use_sat_inprocessing = False
        if solver.solve(self._model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return None
        follower = {a: b for (a, b), arc in self._arcs.items() if solver.boolean_value(arc)}
        return self._split(follower)

    def _split(self, follower: dict[int, int]) -> list[list[int]]:
        """Cut the circuit at the depots."""
        n = len(self._problem.orders)
        sequences = []
        for k in range(len(self._problem.machines)):
            sequence, at = [], follower[n + k]
            while at < n:
                sequence.append(at)
                at = follower[at]
            sequences.append(sequence)
        return sequences

    def _int(self, low: int, high: int, hint: int) -> cp_model.IntVar:
        var = self._model.new_int_var(low, high, "")
        self._model.add_hint(var, hint)
        return var

    def _bool(self, hint: bool) -> cp_model.IntVar:
        var = self._model.new_bool_var("")
        self._model.add_hint(var, hint)
        return var

    def _wanted(self, a: int, b: int) -> bool:
        """Whether the arc can be part of a good schedule: no depot but the next one, one family by due time."""
        orders, n, depots = self._problem.orders, len(self._problem.orders), len(self._problem.machines)
        if a >= n or b >= n:
            return b < n or a < n or b - n == (a - n + 1) % depots
        first, second = orders[a], orders[b]
        return n <= FREE_ORDERS or first.family != second.family or (first.due, a) < (second.due, b)

    def _add_routes(self) -> None:
        """Arcs, setups, times along arcs, and the price of leaving what is agreed."""
        p, w, m = self._problem, self._problem.weights, self._model
        n, nodes = len(p.orders), len(p.orders) + len(p.machines)
        hinted: set[tuple[int, int]] = set()
        for k, s in enumerate(self._start.sequences):
            hinted.update(itertools.pairwise([n + k, *s, n + (k + 1) % len(p.machines)]))
        agreed = p.agreed_links()
        self._cost.append(w.change * len(agreed))
        may_wait = any(machine.window is not None for machine in p.machines)
        setups: list[list[cp_model.LinearExprT]] = [[] for _ in p.orders]
        for a, b in itertools.permutations(range(nodes), 2):
            if (a, b) not in hinted and not self._wanted(a, b):
                continue
            arc = self._arcs[a, b] = self._bool((a, b) in hinted)
            if b >= n:
                continue
            k, first = (a - n, True) if a >= n else (0, False)
            setup = p.setup_minutes(k, NOBODY if first else a, b)
            setups[b].append(setup * arc)
            link = (NOBODY - k if first else a, b)
            self._cost.append((w.setup * setup - w.change * (link in agreed)) * arc)
            before = p.machines[k].free if first else self._end[a]
            m.add(self._begin[b] >= before if may_wait else self._begin[b] == before).only_enforce_if(arc)
        m.add_circuit([(a, b, arc) for (a, b), arc in self._arcs.items()])
        for i, o in enumerate(p.orders):
            m.add(self._end[i] == self._begin[i] + o.minutes + cp_model.LinearExpr.sum(setups[i]))

    def _add_window(self, k: int) -> None:
        """Maintenance of machine k at the first boundary from its window's start on.

        With windows the model may let a machine wait, which no MES does; ``timetable`` then prices the sequence as it
        would really run.
        """
        p, m, n = self._problem, self._model, len(self._problem.orders)
        machine = p.machines[k]
        if machine.window is None:
            return
        start, length = machine.window
        earliest = max(start, machine.free)
        ends = [q.end for q in self._start.placements if q.machine == k and q.begin < start]
        taken = self._int(start, self._horizon, max(ends, default=earliest))
        m.add(taken >= start)
        here = [self._bool(self._placed[i].machine == k) for i in range(n)]
        for (a, b), arc in self._arcs.items():
            if b < n:
                m.add(here[b] == (here[a] if a < n else int(a - n == k))).only_enforce_if(arc)
        for i in range(n):
            after = self._bool(self._placed[i].machine == k and self._placed[i].begin >= start)
            m.add(self._begin[i] >= taken + length).only_enforce_if(after)
            m.add(self._begin[i] < start).only_enforce_if([here[i], ~after])
            m.add(self._end[i] <= taken).only_enforce_if([here[i], ~after])
        self._cost.append(p.weights.boundary * (taken - start))

    def _add_lateness(self) -> None:
        """Soft margin, step and slope of each job order's cost."""
        w, m = self._problem.weights, self._model
        for i, o in enumerate(self._problem.orders):
            end, hint = self._end[i], self._placed[i].end
            early = o.due - w.margin_minutes
            near = self._int(0, max(0, self._horizon - early), max(0, hint - early))
            m.add(near >= end - early)
            late = self._bool(hint > o.due)
            m.add(end <= o.due).only_enforce_if(~late)
            over = self._int(0, max(0, self._horizon - o.due), max(0, hint - o.due))
            m.add(over >= end - o.due)
            self._cost.extend((w.margin * near, w.late * late, w.tardy * over))

    def _add_idling(self) -> None:
        """Time between the end of each machine's last job order and the last begin on any machine."""
        p, n = self._problem, len(self._problem.orders)
        begins = max(q.begin for q in self._start.placements)
        for k, machine in enumerate(p.machines):
            sequence = self._start.sequences[k]
            hint = self._placed[sequence[-1]].end if sequence else machine.free
            done = self._int(machine.free, self._horizon, hint)
            idle = self._int(0, self._horizon, max(0, begins - hint))
            following = n + (k + 1) % len(p.machines)
            for i in range(n):
                self._model.add(done <= self._end[i]).only_enforce_if(self._arcs[i, following])
                self._model.add(idle >= self._begin[i] - done)
            if (n + k, following) in self._arcs:
                self._model.add(done <= machine.free).only_enforce_if(self._arcs[n + k, following])
            self._cost.append(p.weights.idle * idle)
