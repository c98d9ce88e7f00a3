"""Operators' answers as labels for training: one JSON line each, in data_dir/labels.jsonl."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from lineside_gateway.publish import Answer

FILE = "labels.jsonl"


def label(answer: Answer) -> dict[str, object]:
    """One label: who said what about which advice, with all that is needed to find the window again. Plain JSON."""
    rec = answer.rec
    return {
        "at": answer.at.isoformat(timespec="milliseconds"),
        "verdict": answer.verdict.value,
        "user": answer.user,
        "comment": answer.comment,
        "task": rec.task,
        "kind": rec.kind.value,
        "equipment_id": rec.equipment_id,
        "window_end": rec.window_end.isoformat(),
        "key": rec.key,
        "model": rec.model,
        "model_version": rec.model_version,
        "confidence": rec.confidence,
        "quality": rec.quality,
        "value": json.dumps({k: list(v) if isinstance(v, tuple) else v for k, v in rec.value.items()}, default=dict),
    }


class Labels:
    """Appends to the file in ``folder``; every column is a scalar, so the file reads as a table."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def prune(self, before: datetime) -> int:
        """Remove labels older than ``before``; how many.

        Raises:
            OSError: The file cannot be replaced.
            ValueError, KeyError: A line of it is no label.
        """
        if not self._path.exists():
            return 0
        lines = self._path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if datetime.fromisoformat(json.loads(line)["at"]) >= before]
        if len(kept) < len(lines):
            fresh = self._path.with_suffix(".new")
            fresh.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            fresh.replace(self._path)
        return len(lines) - len(kept)

    def append(self, answer: Answer) -> None:
        """Write one label.

        Raises:
            OSError: The disk takes no more.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(label(answer), ensure_ascii=False) + "\n")
