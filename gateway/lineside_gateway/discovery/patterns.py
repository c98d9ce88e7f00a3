"""A browse pattern that leads to certain nodes and to no other. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from lineside_gateway.errors import NodeError
from lineside_gateway.opcua.addresses import BrowseAddress, matches, parse_address, path_text

Names = tuple[str, ...]


def pattern_of(wanted: Sequence[Names], there: Collection[Names], start: Names = ()) -> str | None:
    """A browse path with globs that matches all ``wanted`` and nothing else of ``there``; None where there is none.

    Globs stand only where the paths differ; the plainest that fits is taken: ``Line1/*`` before ``Line1/Mill*``.
    ``start`` is the pattern that ``there`` was browsed from: what else lies on its levels is not known.
    """
    depth = len(wanted[0]) if wanted else 0
    if not depth or len(set(wanted)) != len(wanted) or any(len(w) != depth for w in wanted):
        return None
    level = {names for names in there if len(names) == depth} | set(wanted)
    choices = [[part] for part in start[:depth]] + [_globs({w[i] for w in wanted}) for i in range(len(start), depth)]
    for parts in itertools.product(*choices):
        hit = {names for names in level if all(matches(n, p) for n, p in zip(names, parts, strict=True))}
        if hit == set(wanted) and _reads_back(parts):
            return path_text(parts)
    return None


def _reads_back(parts: Names) -> bool:
    """Whether settings read the path as these parts; an empty name, or one that ends with &, they do not."""
    try:
        return parse_address(path_text(parts)) == BrowseAddress(parts)
    except NodeError:
        return False


def names_pattern(wanted: Sequence[str], there: Collection[str]) -> tuple[str, ...]:
    """Names or one glob for them, as ``tasks[].equipment`` takes them."""
    if set(wanted) == set(there):
        return ("*",)
    glob = pattern_of([(n,) for n in wanted], [(n,) for n in there]) if len(wanted) > _LISTED else None
    return (glob,) if glob is not None else tuple(wanted)


_LISTED = 4
"""More names than these are written as a glob where one fits."""


def _globs(names: set[str]) -> list[str]:
    if len(names) == 1:
        return [next(iter(names))]
    first = _beginning(names)
    last = _beginning({n[len(first) :][::-1] for n in names})[::-1]
    out = ["*"]
    if first:
        out += [f"{first}*", f"{first}*{last}"]
        if len({len(n) for n in names}) == 1:
            out.append(f"{first}{'?' * (len(next(iter(names))) - len(first) - len(last))}{last}")
    elif sum(map(str.isalpha, last)) > 1:  # a common last digit is chance
        out.append(f"*{last}")
    return list(dict.fromkeys(out))


def _beginning(names: Collection[str]) -> str:
    """What all names begin with: what the first and the last in order have in common."""
    pairs = zip(min(names), max(names), strict=False)
    return "".join(one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
