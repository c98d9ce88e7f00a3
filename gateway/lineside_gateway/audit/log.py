"""Appends to the audit log: one open file, rotated by size with the chain carried over, bounded by age.

fsync policy: a line reaches the operating system before ``append`` returns, so the end of this process loses none.
``sync`` forces all lines to disk; the gateway calls it before any write goes to the plant, and twice a second.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from lineside_gateway.audit.chain import AuditError, Head, line, read

ROTATE_BYTES = 16 * 2**20
KEEP = timedelta(days=400)  # a year and what an audit of that year takes
FILES_KEPT = 20  # a file spans at most this part of the time that lines are kept, so that age removes them in time
_TAIL_BYTES = 1 << 20  # longer than any line


def files(folder: Path) -> list[Path]:
    """The log's files, oldest first; each is named by the number of its first line."""
    return sorted(folder.glob("audit-*.jsonl"))


def _now() -> datetime:
    return datetime.now(UTC)


class AuditLog:
    """The writer of one log; one process at a time. ``append`` is called from one thread, ``sync`` from any.

    ``clock`` gives wall time, UTC. Files whose last line is older than ``keep`` are deleted when a new one begins;
    the line "pruned" then says up to which line, and with which hash, so the chain can be checked from there.

    Raises:
        AuditError: The folder cannot be used, or another gateway writes there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], datetime] = _now,
        rotate_bytes: int = ROTATE_BYTES,
        keep: timedelta = KEEP,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._began = clock()
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._switching = threading.Lock()
        self._dirty = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder)
            self.head, torn = _resume(folder)
            self._file = self._open()
        except OSError as e:
            raise AuditError(
                f"the audit log in {folder} cannot be written: {e.strerror or e}; nothing is written to the plant "
                "without it: correct gateway.data_dir or its rights",
                repr(e),
            ) from e
        if torn:
            self.append("recovered", torn_bytes=torn, text="a line that a crash had cut short was removed")

    def append(self, event: str, **fields: object) -> Head:
        """Write one line; the new head.

        Raises:
            AuditError: The disk takes no more.
        """
        text, head = line(self.head, self._clock(), event, fields)
        try:
            self._file.write(text.encode() + b"\n")
            self.head, self._dirty = head, True
            if self._file.tell() >= self._rotate_bytes or self._clock() - self._began > self._keep / FILES_KEPT:
                self._rotate()
        except OSError as e:
            raise AuditError(f"the audit log in {self._folder} takes no line: {e.strerror or e}; free the disk") from e
        return head

    def sync(self) -> None:
        """Force what was appended to disk; blocks for the disk, so an event loop calls it in a thread.

        Raises:
            AuditError: The disk failed.
        """
        with self._switching:
            if not self._dirty or self._file.closed:
                return
            self._dirty = False
            try:
                os.fsync(self._file.fileno())
            except OSError as e:
                self._dirty = True
                raise AuditError(f"the audit log in {self._folder} is not on disk: {e.strerror or e}") from e

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let the files be rewritten by their holder: nothing is appended meanwhile, and nobody else gets in."""
        with self._switching:
            self._file.close()
            try:
                yield
            finally:
                self._file = self._open()

    def close(self) -> None:
        """Force everything to disk and let the next process in."""
        self.sync()
        with self._switching:
            self._file.close()
            self._lock.close()

    def _open(self) -> BinaryIO:
        existing = files(self._folder)
        path = existing[-1] if existing else self._folder / f"audit-{self.head.seq + 1:012d}.jsonl"
        self._began = _first_time(path) or self._clock()
        return path.open("ab", buffering=0)

    def _rotate(self) -> None:
        with self._switching:
            os.fsync(self._file.fileno())
            self._file.close()
            path = self._folder / f"audit-{self.head.seq + 1:012d}.jsonl"
            self._file, self._began = path.open("ab", buffering=0), self._clock()
        self._prune()

    def _prune(self) -> None:
        """Delete old files; what was deleted is a line of the new one."""
        gone: Head | None = None
        for path in files(self._folder)[:-1]:
            content, head = _last(path)
            if self._clock() - datetime.fromisoformat(str(content["at"])) <= self._keep:
                break
            path.unlink()
            gone = head
        if gone is not None:
            self.append("pruned", last_seq=gone.seq, last_hash=gone.hash, keep_days=self._keep.days)


def _resume(folder: Path) -> tuple[Head, int]:
    """The head to go on from, and how many bytes of a torn last line were removed."""
    torn = 0
    for path in reversed(files(folder)):
        data = path.read_bytes()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            torn += len(data) - end
            with path.open("r+b") as file:
                file.truncate(end)
        if end:
            return _last(path)[1], torn
        path.unlink()  # a file that got no whole line
    return Head(), torn


def _first_time(path: Path) -> datetime | None:
    """When the first line of a file was written; None where there is none."""
    if not path.exists() or not path.stat().st_size:
        return None
    with path.open(encoding="utf-8") as file, contextlib.suppress(ValueError):  # damage is verify's to tell
        return datetime.fromisoformat(str(read(file.readline().removesuffix("\n"))[0]["at"]))
    return None


def _last(path: Path) -> tuple[dict[str, object], Head]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        newest = file.read().splitlines()[-1]
    try:
        return read(newest.decode())
    except ValueError as e:
        raise AuditError(
            f"the last line of {path} {e}; run 'lineside audit verify', keep the folder as evidence and move it away"
        ) from e


def _lock(folder: Path) -> BinaryIO:
    """Hold the folder for this process, where the platform has file locks."""
    held = (folder / "lock").open("ab")
    with contextlib.suppress(ImportError):  # no fcntl on Windows
        import fcntl  # noqa: PLC0415

        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            held.close()
            raise AuditError(
                f"another gateway writes the audit log in {folder}; stop it or give this one another gateway.data_dir"
            ) from e
    return held
