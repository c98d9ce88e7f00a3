"""Models on disk: a folder of plain files whose signed manifest holds the size and SHA-256 of each.

    model.safetensors   tensors; no pickle anywhere
    config.json         architecture, fitted normaliser, thresholds
    metrics.json        what was measured on held-out units
    report.json         one row per candidate and split
    manifest.json       name, version, when, by which Lineside, from which code and data, files with size and hash
    signature.json      who vouches for the manifest, by an Ed25519 signature; checked before anything is read

A models directory (``LINESIDE_MODELS``) overrides what ships with a task: ``<dir>/<task>/<version>/`` with the version
in use named in ``<dir>/<task>/current``.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as tensors_to_bytes

from lineside_plugins.contract import TrainedModel
from lineside_plugins.types import ModelData
from lineside_workers.errors import ModelError
from lineside_workers.models.manifest import (
    CONFIG,
    FORMAT,
    MANIFEST,
    METRICS,
    REPORT,
    SIGNATURE,
    TENSORS,
    parse,
    read_bytes,
    read_json,
    read_manifest,
    read_verified,
)  # fmt: skip
from lineside_workers.models.shipped import builtin_folder
from lineside_workers.models.signing import KeyRing

CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model comes from: SHA-256 of the task's code and of the recordings; empty where unknown."""

    code_sha256: str = ""
    data_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verified model folder says of itself, and the name of the trusted key that signed it; empty if none."""

    name: str
    version: str
    signer: str


@dataclass(frozen=True, slots=True)
class ModelStore:
    """Reads and writes model folders; ``root`` is the models directory, or None for shipped models only.

    ``keys`` sign what is saved and say whose models are loaded.
    """

    root: Path | None = None
    keys: KeyRing = field(default_factory=KeyRing.from_env)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> ModelStore:
        """The store below ``LINESIDE_MODELS``, if that is set."""
        root = environ.get("LINESIDE_MODELS", "")
        return cls(Path(root) if root else None, KeyRing.from_env(environ))

    def folder(self, task: str) -> Path:
        """The folder in use for ``task``: the models directory's current one, else what ships with the task.

        Raises:
            ModelError: ``current`` is unreadable or points nowhere, or nothing ships with the task.
        """
        home = None if self.root is None else self.root / task
        if home is None or not (home / CURRENT).is_file():
            return builtin_folder(task)
        version = (home / CURRENT).read_text(encoding="utf-8").strip()
        folder = home / version
        if not version or Path(version).name != version or not folder.is_dir():
            have = ", ".join(sorted(p.name for p in home.iterdir() if p.is_dir())) or "none"
            raise ModelError(f"{home / CURRENT} names version '{version}'; versions there: {have}; correct the file")
        return folder

    @staticmethod
    def weight_bytes(folder: Path) -> int:
        """Size of the weights in ``folder``, 0 where there are none."""
        with contextlib.suppress(OSError):
            return (folder / TENSORS).stat().st_size
        return 0

    def install(self, task: str, folder: Path) -> Path:
        """Copy a verified ``folder`` below the models directory and make it the current one of ``task``.

        Raises:
            ModelError: There is no models directory, or the folder does not verify.
        """
        if self.root is None:
            raise ModelError("there is no models directory; set LINESIDE_MODELS to one")
        version = self.load(folder).version
        home = self.root / task
        home.mkdir(parents=True, exist_ok=True)
        target = home / version
        _replace_folder(target, lambda fresh: shutil.copytree(folder, fresh, dirs_exist_ok=True))
        pointer = home / f".{CURRENT}.tmp"
        pointer.write_text(version + "\n", encoding="utf-8")
        pointer.replace(home / CURRENT)
        return target

    def load(self, folder: Path) -> ModelData:
        """Verify the signature of ``folder`` and every file against its manifest, then read it. Tensors are read-only.

        Raises:
            ModelError: Names the file, what is wrong with it, and the next step.
            SigningError: Nobody who is trusted here vouches for it.
        """
        manifest, _ = read_manifest(folder, self.keys)
        data = read_verified(folder, manifest)
        try:
            tensors = cast("dict[str, NDArray[np.generic]]", tensors_from_bytes(data[TENSORS]))
        except (SafetensorError, KeyError, ValueError) as e:
            raise ModelError(f"{folder / TENSORS} is not a safetensors file: {e}; train the model again") from e
        for tensor in tensors.values():
            tensor.flags.writeable = False
        return ModelData(
            name=str(manifest["name"]),
            version=str(manifest["version"]),
            config=read_json(folder / CONFIG, data[CONFIG]),
            tensors=tensors,
            metrics=read_json(folder / METRICS, data[METRICS]),
        )

    def verify(self, folder: Path) -> Verified:
        """Check signature and files of ``folder`` without reading the tensors.

        Raises:
            ModelError: As ``load``.
        """
        manifest, signer = read_manifest(folder, self.keys)
        read_verified(folder, manifest)
        return Verified(str(manifest["name"]), str(manifest["version"]), signer)

    def sign(self, folder: Path, key: Path | None = None) -> Verified:
        """Sign the model in ``folder``, whose files must be the manifest's, with ``key`` or the local one.

        Raises:
            ModelError: A file is not what the manifest says, or the key cannot be used.
        """
        body = read_bytes(folder)
        manifest = parse(folder, body)
        read_verified(folder, manifest)
        fresh = folder.parent / f".{folder.name}.{SIGNATURE}"
        fresh.write_bytes(self.keys.sign(body, key))
        fresh.replace(folder / SIGNATURE)
        return Verified(str(manifest["name"]), str(manifest["version"]), "")

    def save(
        self, folder: Path, name: str, version: str, trained: TrainedModel, *, origin: Origin | None = None
    ) -> Path:
        """Write ``trained`` to ``folder`` and sign it, all or nothing; an older model there is replaced.

        An empty ``version`` becomes the first 12 digits of the SHA-256 of tensors and configuration, so that the same
        training gives the same version.

        Raises:
            ModelError: A configuration or metric is not JSON, or a tensor has a dtype safetensors does not know.
            SigningError: The local key cannot be read or made.
        """
        content = _content(trained)
        version = version or hashlib.sha256(content[TENSORS] + content[CONFIG]).hexdigest()[:12]
        origin = origin or Origin()
        manifest = {
            "format": FORMAT,
            "name": name,
            "version": version,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "lineside": importlib.metadata.version("lineside"),
            "code_sha256": origin.code_sha256,
            "data_sha256": origin.data_sha256,
            "files": {n: {"bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in content.items()},
        }
        content[MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
        content[SIGNATURE] = self.keys.sign(content[MANIFEST])

        def write(fresh: Path) -> None:
            for file, body in content.items():
                with (fresh / file).open("wb") as f:
                    f.write(body)
                    f.flush()
                    os.fsync(f.fileno())

        folder.parent.mkdir(parents=True, exist_ok=True)
        _replace_folder(folder, write)
        return folder


def _content(trained: TrainedModel) -> dict[str, bytes]:
    try:
        tensors = tensors_to_bytes({k: np.ascontiguousarray(v) for k, v in trained.tensors.items()})
    except (SafetensorError, KeyError, TypeError, ValueError) as e:
        kinds = ", ".join(f"{k} {np.asarray(v).dtype}" for k, v in trained.tensors.items())
        raise ModelError(f"tensors cannot be saved ({kinds}): {e}; use numbers or bool") from e
    rows = [dict(r) for r in trained.report]
    return {
        TENSORS: tensors,
        CONFIG: _json(CONFIG, dict(trained.config)),
        METRICS: _json(METRICS, dict(trained.metrics)),
        REPORT: _json(REPORT, rows),
    }


def _json(name: str, value: object) -> bytes:
    def plain(x: object) -> object:
        if isinstance(x, np.generic | np.ndarray):
            return x.tolist()
        if isinstance(x, Mapping):
            return dict(x)
        raise TypeError(f"{type(x).__name__} is not JSON")

    try:
        return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False, default=plain) + "\n").encode()
    except (TypeError, ValueError) as e:
        raise ModelError(f"{name} cannot be saved: {e}; use text, finite numbers, lists and mappings") from e


def _replace_folder(target: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a new folder, then put it at ``target``; on any error the old one stays."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
    old = fresh.with_name(fresh.name + ".old")
    try:
        fresh.chmod(0o755)  # mkdtemp makes it private; a model is read by other users' workers
        write(fresh)
        if target.exists():
            target.replace(old)
        fresh.replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not target.exists():
            old.replace(target)
        shutil.rmtree(old, ignore_errors=True)
