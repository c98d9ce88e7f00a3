"""Which optional parts are installed; a missing one is a sentence, not a traceback."""

from __future__ import annotations

from importlib.util import find_spec

from lineside_gateway.errors import LinesideError

_MARKERS = {"workers": "torch", "plant": "simpy", "trials": "matplotlib"}


def require(extra: str) -> None:
    """Check that ``lineside[extra]`` is installed.

    Raises:
        LinesideError: It is not; the message says what to install.
    """
    if find_spec(_MARKERS[extra]) is None:
        raise LinesideError(
            f"this command needs '{_MARKERS[extra]}', which is not installed; run: pip install 'lineside[{extra}]'"
        )
