"""Names as words: ``VibRms``, ``VIBRATION_RMS_mm_s`` and ``Vibration/RMS`` say the same. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from lineside_gateway.opcua.units import same_unit

ID = "{id}"
"""Stands in a settings address for the equipment's own name."""
_PIECES = re.compile(r"[^\W_]+")
_HUMPS = re.compile(r"(?<=[^\W\dA-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\d)(?=[^\W\d])|(?<=[^\W\d])(?=\d)")
_WHOLE = {
    "acc": "acceleration", "accel": "acceleration", "cnt": "count", "counter": "count",
    "curr": "current", "cyc": "cycle", "flw": "flow", "freq": "frequency", "fam": "family", "hum": "humidity",
    "kurt": "kurtosis", "lvl": "level", "nr": "number", "no": "number", "num": "number", "offs": "offset",
    "ovr": "override", "pos": "position", "pow": "power", "prs": "pressure", "pwr": "power", "ser": "serial",
    "spd": "speed", "spdl": "spindle", "spin": "spindle", "stat": "state", "status": "state", "sts": "state",
    "temp": "temperature", "tmp": "temperature", "torq": "torque", "trq": "torque", "vel": "velocity",
    "vib": "vibration", "vibr": "vibration",
}  # fmt: skip
"""Abbreviations usual in PLC programs, and words used for each other there."""
_TYPES = frozenset({"b", "di", "dw", "f", "i", "lr", "n", "r", "s", "udi", "ui", "w", "x"})
"""Prefixes that give a variable's IEC 61131-3 type, as in ``rSpindleTemp``."""
FILLERS = frozenset({"act", "actual", "in", "input", "is", "measured", "process", "pv", "reading", "val", "value"})
"""Words that say no more than that a value was measured."""
PLACES = frozenset(
    {"condition", "data", "diagnostic", "io", "machine", "measurement", "monitoring", "opc", "parameter", "plc",
     "production", "sensor", "signal", "tag", "ua", "variable"}
)  # fmt: skip
"""Words of folders that say nothing of whose values they hold; a ``Coolant`` would."""


@lru_cache(maxsize=20_000)
def words_of(name: str) -> tuple[str, ...]:
    """The words of one BrowseName in lower case, abbreviations written out, plurals in the singular."""
    pieces = _PIECES.findall(name.replace(ID, " "))
    return tuple(_word(w.casefold()) for piece in pieces for w in _HUMPS.sub(" ", piece).split())


def _word(word: str) -> str:
    if word in _WHOLE:
        return _WHOLE[word]
    plural = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "is", "us"))
    return _WHOLE.get(word[:-1], word[:-1]) if plural else word


@lru_cache(maxsize=20_000)
def leaf_words(name: str, unit: str) -> tuple[str, ...]:
    """Words of a Variable's BrowseName without a type prefix, and without ``unit`` where it ends with that."""
    pieces = _PIECES.findall(name.replace(ID, " "))
    for count in (1, 2):
        if unit and len(pieces) > count and same_unit("/".join(pieces[-count:]), unit):
            name = "_".join(pieces[:-count])
            break
    words = words_of(name)
    return words[1:] if len(words) > 1 and words[0] in _TYPES else words


def says(wanted: tuple[str, ...], found: Collection[str]) -> bool:
    """Whether ``found`` are the words ``wanted``, in any order and beside fillers, or the same letters in a row."""
    rest = [w for w in found if w in wanted or telling(w)]
    return set(rest) == set(wanted) or "".join(rest) == "".join(wanted)


def telling(word: str) -> bool:
    """Whether a word says what is measured: no filler, and no number, which only counts parts alike."""
    return word not in FILLERS and not word.isdigit()
