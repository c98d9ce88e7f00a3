"""Which Variable of a machine is the tag that a task reads: by the words of its path, its unit and its type. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache

from lineside_gateway.discovery.places import Names, Place
from lineside_gateway.discovery.wants import Want
from lineside_gateway.discovery.words import PLACES, leaf_words, says, telling, words_of
from lineside_gateway.opcua.browse import TreeNode
from lineside_gateway.opcua.units import same_unit

NEAR = 0.5
"""Share of a tag's words that a Variable's path has at least to be shown beside it."""
SPELLED_ALIKE = 0.75
"""Likeness of two names by difflib from which one may be the other misspelt."""
SHOWN = 3
"""Candidates shown for one tag at most."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A Variable below a machine, by its path there; ``misfit`` says why it cannot be the tag, "" where it may."""

    path: Names
    node: TreeNode
    misfit: str = ""


@dataclass(frozen=True, slots=True)
class Matched:
    """Tags of one machine: ``found`` beyond doubt, and for the others what might be meant, likeliest first."""

    found: Mapping[str, Candidate] = field(default_factory=dict)
    unsure: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)


def match(wants: Iterable[Want], machine: Place) -> Matched:
    """Match each tag, or say what may be meant; two Variables that fit alike are a question for the user."""
    variables = [Candidate(names, place.node) for names, place in machine.variables()]
    found: dict[str, Candidate] = {}
    open_: list[tuple[Want, list[Candidate], list[Candidate]]] = []
    for want in wants:
        judged = [Candidate(v.path, v.node, misfit(want, v.node)) for v in variables]
        named, elsewhere = _named(want, judged)
        likely = [v for v in named or elsewhere if not v.misfit]
        exact = [v for v in likely if v.path[-1] == want.tag]
        sure = exact if len(exact) == 1 else likely
        if len(sure) == 1 and (named or exact or len(words_of(want.tag)) > 1):
            found[want.tag] = sure[0]
        else:
            open_.append((want, judged, likely or named or elsewhere))
    taken = {c.path for c in found.values()}
    free = ((w, [v for v in judged if v.path not in taken], likely) for w, judged, likely in open_)
    return Matched(found, {want.tag: tuple(likely or _near(want, rest))[:SHOWN] for want, rest, likely in free})


def misfit(want: Want, node: TreeNode) -> str:
    """Why the Variable's values cannot be the tag's, "" where they can. Nothing is converted on the way to a task."""
    if node.structured:
        return f"is a structure ({node.data_type})"
    if want.numeric and not node.numeric:
        return f"is {node.data_type}, no number"
    if want.unit and node.unit and not same_unit(want.unit, node.unit):
        return f"is in {node.unit}, not {want.unit}; convert it in the PLC"
    return ""


def _named(want: Want, variables: Sequence[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """Variables whose trailing names say the tag: the machine's own, and those of another part of it.

    Where one of either fits, those that do not are left out.
    """
    wanted = words_of(want.tag)
    own: list[Candidate] = []
    elsewhere: list[Candidate] = []
    for v in variables:
        rest = _before(wanted, want.unit, v.path)
        if rest is not None:
            said = {w for name in rest for w in words_of(name) if telling(w)}
            (elsewhere if said - set(wanted) - PLACES else own).append(v)
    return _fitting(own), _fitting(elsewhere)


def _fitting(candidates: list[Candidate]) -> list[Candidate]:
    return [c for c in candidates if not c.misfit] or candidates


def _before(wanted: tuple[str, ...], unit: str, path: Names) -> Names | None:
    """The names before those that say ``wanted``, None where no trailing names do."""
    last = leaf_words(path[-1], unit)
    for count in range(1, len(path) + 1):
        words = [w for name in path[-count:-1] for w in words_of(name)] + list(last)
        if says(wanted, words):
            return path[:-count]
    return None


def _near(want: Want, variables: Sequence[Candidate]) -> list[Candidate]:
    """Variables that may be meant: some of the words, nearly the same letters, or the very unit."""
    scored = sorted(((_likeness(want, v), v) for v in variables if not v.misfit), key=lambda s: -s[0])
    least = max(scored[0][0] - NEAR / 2, 0.0) if scored else 0.0
    return [v for likeness, v in scored if likeness > least]


@lru_cache(maxsize=20_000)
def _ratio(one: str, other: str) -> float:
    """Likeness of two spellings; machines alike have the same names, and each comparison takes 20 us."""
    return SequenceMatcher(None, one, other).ratio()


def _likeness(want: Want, variable: Candidate) -> float:
    wanted = words_of(want.tag)
    words = [tuple(w for w in words_of(name) if telling(w)) for name in variable.path]
    last = next((w for w in reversed(words) if w), ())
    shared = len({w for name in words for w in name} & set(wanted)) / max(1, len(wanted))
    if shared < NEAR or not set(last) & set(wanted):
        shared = 0.0
    like = _ratio("".join(wanted), "".join(last))
    very_unit = bool(want.unit and variable.node.unit)
    return max(shared, like if like >= SPELLED_ALIKE else 0.0) + (NEAR if very_unit else 0.0)
