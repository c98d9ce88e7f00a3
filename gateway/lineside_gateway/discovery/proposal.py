"""What settings to propose for a server: machines, tags, tasks, and what is missing, said in sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lineside_gateway.discovery.entries import Entry, Register
from lineside_gateway.discovery.errors import DiscoveryError
from lineside_gateway.discovery.machines import Machines, machines_of
from lineside_gateway.discovery.matching import Candidate
from lineside_gateway.discovery.patterns import names_pattern
from lineside_gateway.discovery.places import Place, all_places, tree_of
from lineside_gateway.discovery.wants import TaskWants, Want, merged
from lineside_gateway.opcua.addresses import parse_address, path_text
from lineside_gateway.opcua.browse import TreeNode

SEEN = 8
"""Names listed in a sentence at most."""


@dataclass(frozen=True, slots=True)
class TaskChoice:
    """One task of the settings and the machines it applies to; ``lacks`` are sentences, one per tag it cannot find."""

    wants: TaskWants
    equipment: tuple[str, ...]
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """Everything the settings will say. ``notes`` tell of tasks that were left out, and why."""

    kinds: tuple[tuple[Machines, tuple[Entry, ...]], ...]
    ids: tuple[str, ...]
    wants: tuple[Want, ...]
    """Tags of the chosen tasks, needed ones first."""
    tasks: tuple[TaskChoice, ...]
    notes: tuple[str, ...] = ()
    job_orders: Place | None = None
    """An ISA-95 job order receiver, where a chosen task reads job orders."""

    @property
    def servers(self) -> frozenset[str]:
        """Names of the servers that the settings need."""
        used = {e.server for _, entries in self.kinds for e in entries}
        return frozenset(used | ({self.job_orders.server} if self.job_orders else set()))

    @property
    def lacks(self) -> tuple[str, ...]:
        """Every sentence about something required that is missing."""
        return tuple(s for t in self.tasks for s in t.lacks)

    @property
    def needed(self) -> frozenset[str]:
        """Tags that a chosen task cannot do without."""
        return frozenset().union(*(t.wants.needed for t in self.tasks))


def propose(
    trees: Mapping[str, Sequence[TreeNode]], start: str, tasks: Mapping[str, TaskWants], *, asked: bool
) -> Proposal:
    """Find the machines below ``start`` of each server, ``trees`` by its name, and match what the tasks read.

    ``asked``: the user named the tasks, so that each is proposed; else those are of which every needed tag is found.

    Raises:
        DiscoveryError: Nothing looks like equipment, or nothing that any task reads was recognised.
    """
    roots = [root for server, nodes in trees.items() for root in tree_of(nodes, server)]
    able = [t for t in tasks.values() if asked or t.has_model]
    kinds = machines_of(roots, able, merged(tasks))
    if not kinds:
        raise DiscoveryError(_nothing(roots, start))
    register = Register(kinds, roots, parse_address(start))
    receiver, names = _receiver(roots), list(trees)
    chosen = tuple(able) if asked else _choose(kinds, [t for t in able if t.needed], register)
    return Proposal(
        tuple((kind, register.entries(kind)) for kind in sorted(kinds, key=lambda k: names.index(k.places[0].server))),
        tuple(register.id_of(p) for kind in kinds for p in kind.places),
        merged({t.task: t for t in chosen}),
        tuple(_choice(t, kinds, register, receiver) for t in chosen),
        tuple(_note(t, kinds, receiver) for t in tasks.values() if t not in chosen),
        receiver if any(t.reads_job_orders for t in chosen) else None,
    )


def _choose(kinds: Sequence[Machines], able: Sequence[TaskWants], register: Register) -> tuple[TaskWants, ...]:
    """Tasks that can run; where none can, the one that lacks least."""
    complete = tuple(t for t in able if _complete(t, kinds))
    if complete:
        return complete
    found = kinds[0].tags
    nearest = max(able, key=lambda t: len(t.needed & found.keys()) / len(t.needed), default=None)
    if nearest is None or not nearest.needed & found.keys():
        machines = several([register.id_of(p) for p in kinds[0].places])
        names = several(["/".join(n) for n, _ in kinds[0].places[0].variables()])
        raise DiscoveryError(
            f"{machines} may be equipment, but none of the tags that a task needs was recognised there; seen were "
            f"{names}; name a task with --task to get a file to fill in, or begin elsewhere with --start"
        )
    return (nearest,)


def _complete(task: TaskWants, kinds: Sequence[Machines]) -> list[Place]:
    return [p for kind in kinds for p in kind.complete(task)]


def _choice(task: TaskWants, kinds: Sequence[Machines], register: Register, receiver: Place | None) -> TaskChoice:
    ids = [register.id_of(p) for kind in kinds for p in kind.places]
    able = [register.id_of(p) for p in _complete(task, kinds)]
    lacks = [] if able else _lacks(task, kinds[0], register)
    if task.reads_job_orders and not receiver:
        lacks.append(
            f"task {task.task} reads job orders, and no ISA-95 job order receiver was seen; add job_control with the "
            "MES's server"
        )
    return TaskChoice(task, names_pattern(able, ids) if able else ("*",), tuple(lacks))


def _lacks(task: TaskWants, kind: Machines, register: Register) -> list[str]:
    """A sentence for each needed tag that no machine has, or that those lack which have most."""
    where = several([register.id_of(p) for p in kind.places])
    missing = [t.tag for t in task.tags if t.tag in task.needed and t.tag not in kind.tags]
    missing = missing or [t.tag for t in task.tags if t.tag in task.needed and kind.without(t.tag)]
    return [
        f"task {task.task} needs {tag}, which is not found on {where}{said(kind.unsure.get(tag, ()))}; "
        f"set tags.{tag} in the file"
        for tag in missing
    ]


def said(candidates: Sequence[Candidate]) -> str:
    """What may be meant, as the end of a sentence."""
    if not candidates:
        return ", nor anything like it"
    return "; there is " + ", ".join(f"{path_text(c.path)}{f' ({c.misfit})' if c.misfit else ''}" for c in candidates)


def _note(task: TaskWants, kinds: Sequence[Machines], receiver: Place | None) -> str:
    if not task.needed:
        orders = f" (found: {receiver.node.path})" if receiver else ""
        what = f"reads job orders of the MES{orders}" if task.reads_job_orders else "needs no particular tag"
        return f"{task.task} {what}: ask for it with --task {task.task}"
    if _complete(task, kinds):
        return (
            f"{task.task} finds all its tags and ships no model: train one first, then add it with --task {task.task}"
        )
    missing = [t.tag for t in task.tags if t.tag in task.needed and t.tag not in kinds[0].tags]
    return f"{task.task} lacks {', '.join(missing) or 'tags: no machine has all that it needs'}"


def _receiver(roots: Sequence[Place]) -> Place | None:
    """A job order receiver: an Object with a JobOrderList and an Update method (OPC 10031-4)."""
    for place in all_places(roots):
        if place.node.path and {"JobOrderList", "Update"} <= {c.name for c in place.children}:
            return place
    return None


def _nothing(roots: Sequence[Place], start: str) -> str:
    seen = [p for p in all_places(roots) if p.parent is not None]
    objects = several([p.name for p in seen if p.node.kind == "Object"])
    count = sum(p.node.kind == "Variable" and not p.node.is_property for p in seen)
    return (
        f"nothing below '{start}' looks like equipment, an Object with Variables below it; seen were the Objects "
        f"{objects or 'none'} and {count} Variables; begin elsewhere with --start, or look further down with --depth"
    )


def several(names: Sequence[str]) -> str:
    """The first of ``names`` and how many more there are."""
    more = f" and {len(names) - SEEN} more" if len(names) > SEEN else ""
    return ", ".join(names[:SEEN]) + more
