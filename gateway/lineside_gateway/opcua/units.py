"""Which spellings of an engineering unit mean the same; values are never converted on their way to a task."""

from __future__ import annotations

_SPELLINGS = {
    "°c": "degc", "cel": "degc", "celsius": "degc", "deg c": "degc", "degree celsius": "degc", "°f": "degf",
    "fahrenheit": "degf", "deg f": "degf", "degree fahrenheit": "degf", "µm": "um", "μm": "um", "micrometre": "um",
    "millimetre per second": "mm/s", "mm/sec": "mm/s", "kilowatt": "kw", "second": "s", "sec": "s", "percent": "%",
    "kilowatt hour": "kwh", "kw.h": "kwh", "kw·h": "kwh",
}  # fmt: skip
"""In lower case: UNECE names (Recommendation 20) and symbols that PLCs use."""


def same_unit(one: str, other: str) -> bool:
    """Whether both name one unit; case and surrounding space do not count."""
    return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    plain = text.strip().casefold()
    return _SPELLINGS.get(plain, plain)
