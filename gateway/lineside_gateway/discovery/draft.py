"""A proposal as a settings file with comments for who will edit it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

import yaml

from lineside_gateway.discovery.entries import Entry
from lineside_gateway.discovery.machines import Machines
from lineside_gateway.discovery.matching import Candidate
from lineside_gateway.discovery.places import Names, Place
from lineside_gateway.discovery.proposal import Proposal, several
from lineside_gateway.discovery.wants import Want
from lineside_gateway.discovery.words import ID
from lineside_gateway.opcua.addresses import path_text
from lineside_gateway.settings import SecurityPolicy, ServerSettings

PASSWORD_VARIABLE = "PLC_PASSWORD"  # noqa: S105 - the name of an environment variable
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What a server's names may hold and a YAML comment may not: a line break in one would be read as settings."""
_WIDTH = 120
_COMMENT_AT = 44
"""Column at which comments begin, where the line leaves room."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a proposal came from. ``file`` is what the next commands are told to read."""

    servers: tuple[ServerSettings, ...]
    start: str
    seen: int
    file: str


def draft(proposal: Proposal, source: Source) -> str:
    """The text of the file."""
    kinds = proposal.kinds
    shared = _agree([kind for kind, _ in kinds])
    lines = [
        f"# Proposed by 'lineside init' from {source.seen} nodes below {source.start}.",
        "# Check what each tag was matched to: a name and a unit are all that it went by.",
        "version: 1",
        "servers:",
    ]
    for server in source.servers:
        if server.name in proposal.servers:
            lines += _server(server, kinds)
        else:
            lines.append(f"  # {server.url} has no machine that these tasks read")
    lines.append("equipment:")
    for kind, entries in kinds:
        lines += _equipment(kind, entries, proposal, shared=shared)
    if shared:
        everything = Machines(
            tuple(p for k, _ in kinds for p in k.places), tuple(m for k, _ in kinds for m in k.matched)
        )
        lines += _tags(everything, proposal, indent="")
    if proposal.job_orders:
        where = proposal.job_orders
        lines.append(f"job_control: {{server: {where.server}, browse: {scalar(where.node.path, inside=True)}}}")
    lines += ["tasks:", *_tasks(proposal), *_after(proposal, source)]
    return "".join(f"{_UNPRINTABLE.sub('?', line)}\n" for line in lines)


def scalar(text: str, *, inside: bool = False) -> str:
    """``text`` as YAML on one line, in quotes where it needs them, also ``inside`` braces; ``${`` stays as it is."""
    plain = _UNPRINTABLE.search(text) is None
    quoted: str = yaml.safe_dump(
        [text.replace("${", "$${")],
        default_flow_style=inside, default_style=None if plain else '"', allow_unicode=plain, width=10_000,
    )  # fmt: skip
    return quoted.strip()[1:-1] if inside else quoted.removeprefix("- ").strip()


def _server(server: ServerSettings, kinds: Iterable[tuple[Machines, object]]) -> Iterator[str]:
    yield f"  - name: {server.name}"
    yield f"    url: {scalar(server.url)}"
    security = server.security
    if security.policy is SecurityPolicy.NONE and security.user is None:
        yield _line("    # security: {policy: Basic256Sha256}", "this session is neither signed nor encrypted")
    else:
        policy = f"policy: {security.policy.value}"
        user = (
            f", user: {scalar(security.user, inside=True)}, password: '${{{PASSWORD_VARIABLE}}}'"
            if security.user
            else ""
        )
        yield f"    security: {{{policy}{user}}}"
    deepest = max((len(c.path) for kind, _ in kinds for c in kind.tags.values()), default=0)
    if deepest > server.max_depth:
        yield _line(f"    max_depth: {deepest}", "levels below a machine that are searched for its tags")


def _equipment(kind: Machines, entries: Sequence[Entry], proposal: Proposal, *, shared: bool) -> Iterator[str]:
    of_type = f" of type {kind.type_name}" if kind.type_name else ""
    for entry in entries:
        said = several([p.name for p in entry.places]) + of_type
        yield _line(f"  - browse: {scalar(entry.browse)}", said)
        if entry.id:
            yield f"    id: {entry.id}"
        if len(proposal.servers) > 1:
            yield f"    server: {entry.server}"
        if not shared:
            own = Machines(
                entry.places, tuple(m for p, m in zip(kind.places, kind.matched, strict=True) if p in entry.places)
            )
            yield from _tags(own, proposal, indent="    ", machine=entry.places[0].name if entry.id else ID)


def _agree(kinds: Sequence[Machines]) -> bool:
    """Whether one map of tags serves all: no tag at two paths, and no machine goes by another name than its own."""
    paths: dict[str, Names] = {}
    for kind in kinds:
        for tag, candidate in kind.tags.items():
            if paths.setdefault(tag, candidate.path) != candidate.path:
                return False
    named = {p.name for kind in kinds for p in kind.places}
    unique = len(named) == sum(len(kind.places) for kind in kinds)
    return unique or not any(ID in name for path in paths.values() for name in path)


def _tags(kind: Machines, proposal: Proposal, *, indent: str, machine: str = ID) -> Iterator[str]:
    """The map of tags, with those that need no entry, are unsure or absent as comments."""
    found = kind.tags
    mapped = [w for w in proposal.wants if w.tag in found and not _by_itself(w.tag, found[w.tag], kind.places)]
    named = [w for w in proposal.wants if w.tag in found and w not in mapped]
    open_ = [w for w in proposal.wants if w.tag not in found and (w.tag in proposal.needed or kind.unsure.get(w.tag))]
    if mapped or open_:
        yield _line(f"{indent}tags:{'' if mapped else ' {}'}", "a task's tag: path below the machine")
    for want in mapped:
        path = path_text([n.replace(ID, machine) for n in found[want.tag].path])
        partly = kind.without(want.tag)
        lacking = f"; not on {several([p.name for p in partly])}" if partly else ""
        yield _line(f"{indent}  {want.tag}: {scalar(path)}", _unit(want, found[want.tag]) + lacking)
    if named:
        own = ", ".join(f"{w.tag} ({_unit(w, found[w.tag])})" for w in named)
        yield from _comment(f"by their own names: {own}", f"{indent}  ")
    for want in open_:
        yield from _question(want, kind.unsure.get(want.tag, ()), indent, machine, needed=want.tag in proposal.needed)
    absent = [w.tag for w in proposal.wants if w.tag not in found and w not in open_]
    if absent:
        yield from _comment(f"not found, and no task needs them: {', '.join(absent)}", f"{indent}  ")


def _question(want: Want, candidates: Sequence[Candidate], indent: str, machine: str, *, needed: bool) -> Iterator[str]:
    """Lines that leave the choice to the user: each is a setting that only waits for its # to be taken away."""
    unit = f" in {want.unit}" if want.unit else ""
    some = "choose one, or none" if candidates else "and nothing like it"
    yield f"{indent}  # {want.tag}{unit} is not found{', and a task needs it' if needed else ''}: {some}"
    for c in candidates:
        path = path_text([n.replace(ID, machine) for n in c.path])
        yield _line(f"{indent}  # {want.tag}: {scalar(path)}", c.misfit or _described(c))


def _by_itself(tag: str, candidate: Candidate, places: Sequence[Place]) -> bool:
    """Whether the gateway finds the tag without being told: it takes the nearest node of that name."""
    having = [p for p in places if any(names == candidate.path for names, _ in p.variables())]
    return candidate.path[-1] == tag and all(_leads_to(p, tag, candidate.path) for p in having)


def _leads_to(place: Place, tag: str, path: Names) -> bool:
    return place.resolve((tag,)) is place.resolve(path)


def _unit(want: Want, candidate: Candidate) -> str:
    node = candidate.node
    if want.unit and not node.unit:
        return f"{node.data_type}; states no unit, make sure that it is {want.unit}"
    return node.unit or node.data_type or "no type stated"


def _described(candidate: Candidate) -> str:
    node = candidate.node
    return f"{node.data_type or 'no type stated'}, {node.unit or 'no unit stated'}"


def _tasks(proposal: Proposal) -> Iterator[str]:
    for i, choice in enumerate(proposal.tasks):
        yield f"  - task: {choice.wants.task}"
        if choice.equipment != ("*",):
            yield f"    equipment: [{', '.join(scalar(e, inside=True) for e in choice.equipment)}]"
        yield _line("    mode: advisory", "" if i else "off, shadow, advisory, confirm, closed_loop")
        if choice.lacks:
            yield "    # it does not run yet: something it needs is missing"


def _after(proposal: Proposal, source: Source) -> Iterator[str]:
    file = source.file
    if proposal.notes:
        yield "# Other tasks:"
        for note in proposal.notes:
            yield from _comment(f"  {note}")
    plain = [w.tag for w in proposal.wants if not w.unit and any(w.tag in kind.tags for kind, _ in proposal.kinds)]
    yield "# Next:"
    if plain:
        yield from _comment(f"  compare with the task's README what these mean here: {', '.join(plain)}")
    events = dict.fromkeys(kind for t in proposal.tasks for kind in t.wants.events)
    if events and not proposal.job_orders:
        kinds = ", ".join(events)
        yield from _comment(f"  name the server that emits events under events; these tasks also read {kinds}")
    if source.servers[0].security.user is not None:
        yield f"#   export {PASSWORD_VARIABLE}=...       # or password_file instead of password"
    for command, why in (
        (f"lineside check {file} --connect", "reachable, trusted, every tag found, data type and unit"),
        ("lineside broker", "or any Redis or Valkey server, as broker: {url: ...}"),
        (f"lineside worker --tasks {','.join(t.wants.task for t in proposal.tasks)}", "loads the models"),
        (f"lineside users add NAME --role operator --config {file}", "who may read the results"),
        (f"lineside run {file}", ""),
    ):
        yield _line(f"#   {command}", why, at=_COMMENT_AT + 16)


def _comment(text: str, indent: str = "") -> list[str]:
    inner = " " * (len(text) - len(text.lstrip()))
    return wrap(
        text.strip(), _WIDTH, initial_indent=f"{indent}# {inner}", subsequent_indent=f"{indent}#   {inner}",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _line(text: str, comment: str, at: int = _COMMENT_AT) -> str:
    return text + _pad(text, comment, at) if comment else text


def _pad(text: str, comment: str, at: int = _COMMENT_AT) -> str:
    return f"{' ' * max(2, at - len(text))}# {comment}"
