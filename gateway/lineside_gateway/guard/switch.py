"""The plant-wide switch: one small file in data_dir that demotes every binding to advisory and outlives a restart.

The file is the truth. The gateway looks at it twice a second; ``lineside advisory`` and the hosted node write it. It
only ever demotes: what a binding may do above advisory is said by the settings file alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

FILE = "advisory.json"


@dataclass(frozen=True, slots=True)
class Throw:
    """How the switch stands, who threw it, when (wall clock, ISO 8601) and why."""

    demoted: bool = False
    by: str = ""
    at: str = ""
    why: str = ""


class PlantSwitch:
    """The switch of the gateway whose ``data_dir`` is ``folder``. Any process may throw it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def read(self) -> Throw:
        """How it stands; a file that cannot be read stands for advisory."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return Throw(bool(found["demoted"]), str(found["by"]), str(found["at"]), str(found["why"]))
        except FileNotFoundError:
            return Throw()
        except (OSError, ValueError, KeyError, TypeError) as e:
            return Throw(demoted=True, by="gateway", why=f"{self._path} cannot be read ({e}); throw the switch again")

    def throw(self, demoted: bool, *, by: str, why: str = "") -> Throw:
        """Write it whole or not at all, on disk when this returns."""
        made = Throw(demoted, by, datetime.now(UTC).isoformat(timespec="milliseconds"), why)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(f".{os.getpid()}.new")
        with beside.open("w", encoding="utf-8") as file:
            json.dump(asdict(made), file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        return made
