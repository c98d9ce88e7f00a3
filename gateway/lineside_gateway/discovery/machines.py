"""Machines of one kind with the tags found on each, and which kinds of a server are its equipment. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lineside_gateway.discovery.alike import PLAIN_TYPES, kinds_of
from lineside_gateway.discovery.matching import Candidate, Matched, match
from lineside_gateway.discovery.places import Place
from lineside_gateway.discovery.wants import TaskWants, Want


@dataclass(frozen=True, slots=True)
class Machines:
    """Machines of one kind; a tag that several of them have lies at the same path below each."""

    places: tuple[Place, ...]
    matched: tuple[Matched, ...]

    @property
    def type_name(self) -> str:
        """Their ObjectType where it says something, else ""."""
        node = self.places[0].node
        return "" if node.type_definition in PLAIN_TYPES else node.type_name

    @property
    def tags(self) -> dict[str, Candidate]:
        """Tags found on any of them."""
        return {tag: c for m in reversed(self.matched) for tag, c in m.found.items()}

    @property
    def unsure(self) -> dict[str, tuple[Candidate, ...]]:
        """Candidates of the tags found on none of them."""
        known = self.tags
        return {t: c for m in reversed(self.matched) for t, c in m.unsure.items() if t not in known}

    def complete(self, task: TaskWants) -> tuple[Place, ...]:
        """Those with every tag the task needs."""
        return tuple(p for p, m in zip(self.places, self.matched, strict=True) if task.needed <= m.found.keys())

    def without(self, tag: str) -> tuple[Place, ...]:
        """Those that lack ``tag``."""
        return tuple(p for p, m in zip(self.places, self.matched, strict=True) if tag not in m.found)


def machines_of(roots: Sequence[Place], tasks: Iterable[TaskWants], wants: Sequence[Want]) -> list[Machines]:
    """Kinds of machines, the one that fits ``tasks`` best first, then others that run a task and lie elsewhere.

    Best is the most tasks with all they need, then the most tags; where a machine and the hall it alone stands in
    have the same, several alike come before one, a type of its own before a folder, the deeper before the higher.
    """
    tasks = [t for t in tasks if t.tags]
    candidates = [(kind, match(wants, _richest(kind))) for kind in kinds_of(roots)]
    candidates.sort(key=lambda c: _rank(c[0], c[1], tasks), reverse=True)
    out: list[Machines] = []
    for kind, best in candidates:
        runs = any(t.needed and t.needed <= best.found.keys() for t in tasks)
        if out and (not runs or any(_overlap(p, q) for p in kind for m in out for q in m.places)):
            continue
        out += _agreeing(kind, [match(wants, p) for p in kind])
    return out


def _richest(kind: tuple[Place, ...]) -> Place:
    """The machine with the most nodes below it stands for its kind: others may lack an option."""
    return max(kind, key=lambda p: sum(1 for _ in p.below()))


def _rank(kind: tuple[Place, ...], best: Matched, tasks: Sequence[TaskWants]) -> tuple[float, ...]:
    runs = sum(bool(t.needed) and t.needed <= best.found.keys() for t in tasks)
    needed = len(best.found.keys() & frozenset().union(*(t.needed for t in tasks)))
    distinct = len({(p.server, p.name) for p in kind}) == len(kind)
    typed = kind[0].node.type_definition not in PLAIN_TYPES
    folder = kind[0].node.type_definition == "i=61"
    depth = kind[0].node.depth
    return (
        runs, needed, len(best.found), distinct, len(kind) > 1, typed, not folder, depth if best.found else -depth,
    )  # fmt: skip


def _overlap(one: Place, other: Place) -> bool:
    if one.prefix and other.prefix:
        return any(c in other.children for c in one.children)
    return one.is_within(other) or other.is_within(one) or one.node is other.node


def _agreeing(kind: Sequence[Place], matched: Sequence[Matched]) -> list[Machines]:
    """``kind`` in parts whose machines have each tag at the same path."""
    parts: list[tuple[list[Place], list[Matched]]] = []
    for place, own in zip(kind, matched, strict=True):
        for places, those in parts:
            if all(_same_paths(own, m) for m in those):
                places.append(place)
                those.append(own)
                break
        else:
            parts.append(([place], [own]))
    return [Machines(tuple(places), tuple(those)) for places, those in parts]


def _same_paths(one: Matched, other: Matched) -> bool:
    return all(one.found[t].path == other.found[t].path for t in one.found.keys() & other.found.keys())
