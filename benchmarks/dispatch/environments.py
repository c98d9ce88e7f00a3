"""A virtual environment per peer under ``.bench``, made when first needed; torch and numpy come from this one.

All contestants then compute with the same torch, and nobody downloads it three times.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import torch

PEERS = {"ray": "ray[serve]==2.60.*", "litserve": "litserve==0.2.19", "mosec": "mosec==0.9.8"}
FOLDER = Path(__file__).resolve().parents[2] / ".bench"
INSTALL_WITHIN_S = 240


class EnvironmentMissingError(Exception):
    """A peer cannot be installed here; the message says why."""


def python_of(peer: str) -> Path:
    """The interpreter of ``peer``'s environment, which is set up if it is not there.

    Raises:
        EnvironmentMissingError: pip cannot install it.
    """
    home = FOLDER / peer
    python = home / "bin" / "python"
    done = home / ".installed"
    if done.exists() and done.read_text() == PEERS[peer]:
        return python
    print(f"setting up {PEERS[peer]} in {home.relative_to(FOLDER.parent)}", file=sys.stderr)
    venv.create(home, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PEERS[peer]]
    try:
        ran = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as e:
        raise EnvironmentMissingError(f"pip took longer than {INSTALL_WITHIN_S} s for {PEERS[peer]}") from e
    if ran.returncode:
        said = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")]
        raise EnvironmentMissingError(f"pip cannot install {PEERS[peer]}: {said[-1] if said else ran.returncode}")
    # Its own packages come first on the path; this environment's fill in torch, numpy and what torch needs.
    (site,) = (home / "lib").glob("python*/site-packages")
    (site / "torch_of_the_benchmark.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    done.write_text(PEERS[peer])
    return python
