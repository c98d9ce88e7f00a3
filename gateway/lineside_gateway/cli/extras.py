"""Which optional parts are installed; a missing one is a sentence, not a traceback."""

from __future__ import annotations

from importlib.util import find_spec

from lineside_gateway.errors import LinesideError

_MARKERS = {
    "workers": ("torch",),
    "plant": ("simpy",),
    "trials": ("torch", "simpy"),
    "recording": ("pyarrow",),
}


def require(extra: str, markers: tuple[str, ...] = ()) -> None:
    """Check that ``lineside[extra]`` is installed, or that of it which the packages in ``markers`` stand for.

    Raises:
        LinesideError: It is not; the message says what to install.
    """
    missing = [name for name in markers or _MARKERS[extra] if find_spec(name) is None]
    if missing:
        raise LinesideError(
            f"this command needs '{missing[0]}', which is not installed; run: pip install 'lineside[{extra}]'"
        )
