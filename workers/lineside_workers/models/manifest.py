"""The manifest of a model folder: which files it has, their sizes and SHA-256, and whose signature stands below it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lineside_workers.errors import ModelError
from lineside_workers.models.signing import KeyRing

FORMAT = 1
TENSORS, CONFIG, METRICS, REPORT, MANIFEST, SIGNATURE = (
    "model.safetensors",
    "config.json",
    "metrics.json",
    "report.json",
    "manifest.json",
    "signature.json",
)
CONTENT = (TENSORS, CONFIG, METRICS, REPORT)
_MAX_BYTES = 1 << 20


def read_manifest(folder: Path, keys: KeyRing) -> tuple[dict[str, Any], str]:
    """The manifest of ``folder``, its signature checked before it is parsed, and the name of the key that signed it.

    Raises:
        ModelError: It is missing, damaged, of another format, or not signed by a key that is trusted.
    """
    body = read_bytes(folder)
    signer = keys.check(body, folder / SIGNATURE)
    return parse(folder, body), signer


def read_bytes(folder: Path) -> bytes:
    """The manifest as it stands on disk, not checked.

    Raises:
        ModelError: It is missing or too large.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise ModelError(f"model folder {folder} does not exist; train the model or correct the path")
    if not path.is_file():
        raise ModelError(f"{path} is missing; the folder is not a model or was cut short: reinstall or train again")
    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(f"{path} has {path.stat().st_size} bytes; at most {_MAX_BYTES}: reinstall the model")
    return path.read_bytes()


def parse(folder: Path, body: bytes) -> dict[str, Any]:
    """The content of the manifest ``body`` of ``folder``, whose set of files must be the manifest's.

    Raises:
        ModelError: It is no manifest of this format, or the folder holds more than it names.
    """
    path = folder / MANIFEST
    manifest = read_json(path, body)
    if manifest.get("format") != FORMAT:
        raise ModelError(f"{path} has format {manifest.get('format')!r}; this version reads {FORMAT}: train again")
    listed = manifest.get("files")
    if not isinstance(listed, dict) or set(listed) != set(CONTENT) or not {"name", "version"} <= set(manifest):
        raise ModelError(f"{path} must name the model, its version and the files {', '.join(CONTENT)}: train again")
    extra = sorted({p.name for p in folder.iterdir()} - {*CONTENT, MANIFEST, SIGNATURE})
    if extra:
        raise ModelError(f"{folder / extra[0]} is not in the manifest; remove it or reinstall the model")
    return manifest


def read_verified(folder: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """Every file that ``manifest`` names, each of the size and SHA-256 it says.

    Raises:
        ModelError: Names the file that is missing or differs.
    """
    return {name: _read_one(folder / name, manifest["files"][name]) for name in CONTENT}


def read_json(path: Path, body: bytes) -> dict[str, Any]:
    """The JSON object ``body`` that stood in ``path``.

    Raises:
        ModelError: It is none.
    """
    try:
        value = json.loads(body)
    except ValueError as e:
        raise ModelError(f"{path} is not JSON: {e}; reinstall or train the model again") from e
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds {type(value).__name__}; expected an object: reinstall the model")
    return value


def _read_one(path: Path, entry: Mapping[str, object]) -> bytes:
    if not path.is_file():
        raise ModelError(f"{path} is missing; reinstall or train the model again")
    size, expected = path.stat().st_size, entry.get("bytes")
    if size != expected:
        raise ModelError(f"{path} has {size} bytes, its manifest says {expected}; reinstall or train the model again")
    body = path.read_bytes()
    if hashlib.sha256(body).hexdigest() != entry.get("sha256"):
        raise ModelError(f"{path} was changed: its SHA-256 is not the manifest's; reinstall or train the model again")
    return body
