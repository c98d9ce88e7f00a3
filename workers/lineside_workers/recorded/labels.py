"""Labels: stretches of a machine's time of which something became known, and when it became known.

One row says of windows of ``equipment_id`` that end in ``(start, end]`` whether the thing asked about follows: 1, 0,
or -1 for "cannot be said" (the machine stands in repair). ``known_at`` is when a gateway could have known it; a
training run that stands at some time uses only what was known by then. ``value`` is a quantity that those windows are
to be told by, such as hours left or what an inspection measured.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.types import Record
from lineside_workers.errors import LabelError
from lineside_workers.recorded.reading import Recorded

RENEWALS = ("repair", "maintenance")
HOUR_US = 3_600_000_000
VERDICTS = {"accept": 1, "reject": 0}


@dataclass(frozen=True, slots=True)
class Label:
    """One row; times ISO 8601, UTC."""

    equipment_id: str
    start: str
    end: str
    label: int
    known_at: str
    source: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What follows: an event of ``kinds`` within ``horizon_h``; it becomes known ``delay_h`` after it happened."""

    kinds: tuple[str, ...] = ("failure",)
    horizon_h: float = 24.0
    delay_h: float = 0.0


def from_events(found: Recorded, question: Question) -> list[Label]:
    """Positive within the horizon before each event, unknown until the machine is back, negative elsewhere.

    Raises:
        LabelError: No machine had such an event; says which kinds there are.
    """
    kinds: dict[str, int] = {}
    for event in found.events:
        kinds[str(event["kind"])] = kinds.get(str(event["kind"]), 0) + 1
    if not any(k in kinds for k in question.kinds):
        have = ", ".join(f"{k} {n}" for k, n in sorted(kinds.items())) or "no events at all"
        raise LabelError(
            f"no event of kind {', '.join(question.kinds)} in {found.root}; it holds {have}; "
            "choose with --kind, record longer, or bring labels as CSV"
        )
    out: list[Label] = []
    for equipment in found.equipment_ids:
        own = [e for e in found.events if e["equipment_id"] == equipment]
        out += _of_machine(equipment, own, found.span_us(equipment), question)
    return out


def _of_machine(equipment: str, events: Sequence[Record], span_us: tuple[int, int], question: Question) -> list[Label]:
    """Rows of one machine in time order; what lies less than a horizon before the end is not known yet."""
    horizon, delay = (round(3.6e9 * h) for h in (question.horizon_h, question.delay_h))
    at, out = span_us[0], []

    def add(until: int, label: int, known: int) -> None:
        nonlocal at
        if until > at:
            out.append(Label(equipment, iso(at), iso(until), label, iso(known), "events"))
            at = until

    down = False
    for event in events:
        time = us(str(event["time"]))
        if event["kind"] in question.kinds and not down:
            add(time - horizon, 0, time + delay)
            add(time, 1, time + delay)
            down = True
        elif event["kind"] in RENEWALS:
            if not down:  # renewed before anything happened: the life ahead was cut short, so the horizon is unknown
                add(time - horizon, 0, time + delay)
            add(time, -1, time + delay)
            down = False
    add(span_us[1] - horizon, 0, span_us[1] + delay)
    return out


def hours_left(rows: Sequence[Label], horizon_h: float) -> list[Label]:
    """What ``from_events`` found, with the hours until the event as value, hour by hour; ``horizon_h`` at most."""
    out = []
    for row in rows:
        start, end = us(row.start), us(row.end)
        if row.label == 0:
            out.append(replace(row, value=horizon_h))
        elif row.label == 1:
            for one, other in pairwise([start, *reversed(range(end - HOUR_US, start, -HOUR_US)), end]):
                left = (end - (one + other) / 2) / HOUR_US
                out.append(replace(row, start=iso(one), end=iso(other), value=min(left, horizon_h)))
    return out


def measured(found: Recorded, question: Question) -> list[Label]:
    """What events of ``kinds`` measured, for windows that end between the measurement before, or the horizon, and it.

    Raises:
        LabelError: No such event has a value.
    """
    horizon, delay = (round(3.6e9 * h) for h in (question.horizon_h, question.delay_h))
    out: list[Label] = []
    last: dict[str, int] = {}
    for event in sorted(found.events, key=lambda e: str(e["time"])):
        value, machine = event.get("value"), str(event["equipment_id"])
        if event["kind"] not in question.kinds or not isinstance(value, int | float) or not np.isfinite(value):
            continue
        time = us(str(event["time"]))
        start = max(last.get(machine, time - horizon), time - horizon)
        if start < time:
            out.append(Label(machine, iso(start), iso(time), -1, iso(time + delay), "measured", float(value)))
        last[machine] = time
    if not out:
        raise LabelError(
            f"no event of kind {', '.join(question.kinds)} in {found.root} has a value; choose with --kind"
        )
    return out


def events(rows: Sequence[Label]) -> int:
    """How many events lie behind positive rows, however many rows each has."""
    last: dict[str, str] = {}
    count = 0
    for row in sorted((r for r in rows if r.label == 1), key=lambda r: r.start):
        count += last.get(row.equipment_id) != row.start
        last[row.equipment_id] = row.end
    return count


def known_events(rows: Sequence[Label]) -> int:
    """Events; where rows speak of none, stretches with a value."""
    return events(rows) or sum(row.value is not None for row in rows)


def from_answers(found: Recorded, delay_h: float = 0.0, task: str = "") -> list[Label]:
    """Accept is 1, Reject is 0, for the one window that was answered.

    Raises:
        LabelError: Nobody answered.
    """
    out = []
    for row in found.answers:
        verdict = str(row.get("verdict", row["kind"])).lower()
        if verdict in VERDICTS and task in ("", row.get("task")):
            end = us(str(row.get("window_end") or row["time"]))
            known = us(str(row.get("at") or row["time"])) + round(3.6e9 * delay_h)
            name = str(row["equipment_id"])
            out.append(Label(name, iso(end - 1), iso(end), VERDICTS[verdict], iso(known), "answers"))
    if not out:
        raise LabelError(f"{found.root} holds no Accept or Reject; operators give them on the hosted conditions")
    return out


def of_machines(labels: Sequence[Label], found: Recorded) -> list[Label]:
    """Those of ``labels`` whose machine was recorded.

    Raises:
        LabelError: None was.
    """
    own = [row for row in labels if row.equipment_id in found.equipment_ids]
    if not own:
        raise LabelError(
            f"the labels are of {', '.join(sorted({r.equipment_id for r in labels})[:5])}, the recording of "
            f"{', '.join(found.equipment_ids[:5])}; correct equipment_id"
        )
    return own


def write(path: Path, labels: Sequence[Label]) -> None:
    """As CSV, in order of machine and time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Label)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in sorted(labels, key=lambda r: (r.equipment_id, r.start)))


def read(path: Path) -> list[Label]:
    """Labels from CSV: columns equipment_id, start, end, and label, value or both; known_at and source.

    Without known_at a label is known from its start on: a stretch may be written longer than what was recorded of it.

    Raises:
        LabelError: The file is missing, empty, or a row does not fit; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as e:
        raise LabelError(f"labels {path} cannot be read: {e}; make some: lineside label RECORDING --out {path}") from e
    if not rows:
        raise LabelError(f"labels {path} is empty; make some: lineside label RECORDING --out {path}")
    if missing := [c for c in ("equipment_id", "end") if c not in rows[0]]:
        raise LabelError(
            f"labels {path} has no column '{missing[0]}'; it has {', '.join(rows[0])}; expected "
            "equipment_id,start,end,label with commas between them"
        )
    return [_label(path, number, row) for number, row in enumerate(rows, 2)]


def _label(path: Path, number: int, row: Mapping[str, str]) -> Label:
    try:
        end = iso(us(row["end"]))
        start = iso(us(row["start"])) if row.get("start") else iso(us(end) - 1)
        value = float(row["value"]) if row.get("value") else None
        label = Label(
            row["equipment_id"], start, end, -1 if value is not None and not row.get("label") else int(row["label"]),
            iso(us(row.get("known_at") or start)), row.get("source") or path.name, value,
        )  # fmt: skip
    except (KeyError, ValueError, TypeError) as e:
        raise LabelError(
            f"{path}, line {number}: {type(e).__name__} {e}; expected equipment_id,start,end,label with ISO 8601 times"
        ) from e
    if label.label not in (-1, 0, 1) or label.start > label.end:
        raise LabelError(
            f"{path}, line {number}: label {label.label} from {start} to {end}; expected 1, 0 or -1 forwards"
        )
    if value is not None and not np.isfinite(value):
        raise LabelError(f"{path}, line {number}: value {value}; expected a number, or nothing where none is known")
    return label


def join(labels: Sequence[Label], equipment_id: str, end_us: NDArray[np.int64], now_us: int) -> NDArray[np.int64]:
    """Label (N,) of windows that end at ``end_us``: 1, 0, or -1 where nothing is known at ``now_us``."""
    out = np.full(len(end_us), -1, dtype=np.int64)
    for row in _known(labels, equipment_id, now_us):
        out[_within(row, end_us)] = row.label
    return out


def join_values(
    labels: Sequence[Label], equipment_id: str, end_us: NDArray[np.int64], now_us: int
) -> NDArray[np.float64]:
    """Value (N,) of windows that end at ``end_us``, NaN where none is known at ``now_us``."""
    out = np.full(len(end_us), np.nan)
    for row in _known(labels, equipment_id, now_us):
        if row.value is not None:
            out[_within(row, end_us)] = row.value
    return out


def _known(labels: Sequence[Label], equipment_id: str, now_us: int) -> list[Label]:
    return [row for row in labels if row.equipment_id == equipment_id and us(row.known_at) <= now_us]


def _within(row: Label, end_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray((end_us > us(row.start)) & (end_us <= us(row.end)))


def us(text: str) -> int:
    """Microseconds since 1970 of an ISO 8601 time; one without a zone is UTC."""
    at = datetime.fromisoformat(text)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e6)


def iso(time_us: int) -> str:
    """ISO 8601 UTC of microseconds since 1970."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="microseconds")
