"""Who made a model: Ed25519 signatures of model manifests, the local key that makes them, and the keys trusted here.

A model folder's ``signature.json`` names the signer and signs the bytes of ``manifest.json``, which holds the SHA-256
of every other file. Trusted are the keys that ship with this package (``trusted/*.pem``) and those in the keys folder::

    signing.pem         private key of this machine, made by the first training; readable by its owner only
    trusted/<name>.pem  public keys; the local one is written there when it is made

The keys folder is ``LINESIDE_KEYS``, else ``lineside/keys`` below the user's configuration folder. A host that only
serves needs no private key.

Source: RFC 8032 (Ed25519).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lineside_workers.errors import SettingsError, SigningError

logger = logging.getLogger(__name__)

PRIVATE, TRUSTED, PEM = "signing.pem", "trusted", ".pem"
LOCAL_NAME = "local"
SHIPPED = Path(str(files("lineside_workers.models"))) / TRUSTED
_PURPOSE = b"lineside model manifest 1\0"  # a signature made for anything else is none of a model
_ALGORITHM = "ed25519"
_SIGNATURE_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key trusted here: the name and file it is kept under, and the id that signatures name."""

    name: str
    id: str
    path: Path
    public: Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Signs with the local key and checks against the trusted ones.

    ``required`` False lets models of unknown signers and unsigned ones pass with a warning; a signature that is wrong
    never passes.
    """

    folder: Path
    required: bool = True

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> KeyRing:
        """The ring of ``LINESIDE_KEYS`` and ``LINESIDE_REQUIRE_SIGNATURE`` (yes or no; yes).

        Raises:
            SettingsError: The requirement is neither yes nor no, or this user has no home and no LINESIDE_KEYS.
        """
        environ = os.environ if environ is None else environ
        required = environ.get("LINESIDE_REQUIRE_SIGNATURE") or "yes"
        if required not in {"yes", "no"}:
            raise SettingsError(f"LINESIDE_REQUIRE_SIGNATURE is '{required}'; use yes or no")
        folder = environ.get("LINESIDE_KEYS", "")
        return cls(Path(folder) if folder else _default_folder(environ), required == "yes")

    def sign(self, manifest: bytes, key: Path | None = None) -> bytes:
        """The content of ``signature.json`` for ``manifest``, by the private key in file ``key`` or the local one.

        Raises:
            SigningError: The key cannot be read or made; says what to do.
        """
        private = self.local() if key is None else read_private(key)
        signature = base64.b64encode(private.sign(_PURPOSE + manifest)).decode()
        said = {"algorithm": _ALGORITHM, "signer": key_id(private.public_key()), "signature": signature}
        return (json.dumps(said, indent=2) + "\n").encode()

    def check(self, manifest: bytes, path: Path) -> str:
        """The name of the trusted key that signed ``manifest`` in file ``path``; empty where that is not required.

        Raises:
            SigningError: No signature, an unknown signer, or a manifest changed since; says what to do.
        """
        if not path.is_file():
            return self._refuse(f"{path.parent} is not signed", f"lineside models sign {path.parent}")
        signer, signature = _read_signature(path)
        key = next((k for k in self.trusted() if k.id == signer), None)
        if key is None:
            said = f"{path.parent} is signed by key {signer}, which is not trusted here"
            return self._refuse(said, "lineside models trust with the public key of its maker")
        try:
            key.public.verify(signature, _PURPOSE + manifest)
        except InvalidSignature as e:
            raise SigningError(
                f"{path.parent} was changed after key '{key.name}' ({signer}) had signed it; reinstall or train the "
                "model again"
            ) from e
        return key.name

    def trusted(self) -> list[TrustedKey]:
        """The keys trusted here: shipped ones, then those of the keys folder, by name.

        Raises:
            SigningError: A file there is no public key.
        """
        found = [p for folder in (SHIPPED, self.folder / TRUSTED) for p in sorted(folder.glob(f"*{PEM}"))]
        return [TrustedKey(p.stem, key_id(public), p, public) for p, public in ((p, read_public(p)) for p in found)]

    def trust(self, file: Path, name: str = "") -> TrustedKey:
        """Trust the public key in ``file`` from now on, under ``name`` or the name of the file.

        Raises:
            SigningError: The file is no public key, the name is taken or cannot be a file's, the folder not writable.
        """
        public, name = read_public(file), name or file.stem
        path = self.folder / TRUSTED / f"{name}{PEM}"
        if Path(name).name != name:
            raise SigningError(f"'{name}' cannot name a key; give --name without slashes")
        if path.exists() and key_id(read_public(path)) != key_id(public):
            raise SigningError(f"another key is trusted as '{name}' ({path}); give --name, or remove that file first")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_pem(public))
        except OSError as e:
            raise self._unusable(e) from e
        return TrustedKey(name, key_id(public), path, public)

    def local(self) -> Ed25519PrivateKey:
        """The private key of this machine, made and trusted on first use.

        Raises:
            SigningError: The keys folder cannot be written, or what it holds is no key.
        """
        path = self.folder / PRIVATE
        if not path.is_file():
            try:
                make_private(path)
            except OSError as e:
                raise self._unusable(e) from e
            logger.info("signing key made file=%s", path)
        private = read_private(path)
        own = key_id(private.public_key())
        if all(key.id != own for key in self.trusted()):
            self._trust_own(private.public_key(), own)
        return private

    def _trust_own(self, public: Ed25519PublicKey, own: str) -> None:
        folder = self.folder / TRUSTED
        name = LOCAL_NAME if not (folder / f"{LOCAL_NAME}{PEM}").exists() else f"{LOCAL_NAME}-{own}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}{PEM}").write_bytes(_pem(public))
        except OSError as e:
            raise self._unusable(e) from e

    def _refuse(self, what: str, step: str) -> str:
        if self.required:
            raise SigningError(
                f"{what}; if you know where it comes from run: {step} (LINESIDE_REQUIRE_SIGNATURE=no loads it unproven)"
            )
        logger.warning("model of unproven origin: %s", what)
        return ""

    def _unusable(self, error: OSError) -> SigningError:
        return SigningError(
            f"the keys folder {self.folder} cannot be used: {error.strerror or error}; set LINESIDE_KEYS to a folder "
            "that you may write"
        )


def make_private(path: Path) -> None:
    """Write a new private key to ``path``, readable by its owner only; one that another process wrote first stays.

    Raises:
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    body = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    handle, fresh = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)  # all of the key or none of it, and never over another one
    finally:
        Path(fresh).unlink()


def write_public(private: Path, public: Path) -> str:
    """Write the public half of the key in file ``private``; its id."""
    key = read_private(private).public_key()
    public.write_bytes(_pem(key))
    return key_id(key)


def read_private(path: Path) -> Ed25519PrivateKey:
    """The private key in PEM file ``path``.

    Raises:
        SigningError: There is none.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise SigningError(f"{path} holds no private key ({e}); make one with: lineside models keygen") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{path} holds a {type(key).__name__}; models are signed with Ed25519")
    return key


def read_public(path: Path) -> Ed25519PublicKey:
    """The public key in PEM file ``path``.

    Raises:
        SigningError: There is none.
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as e:
        raise SigningError(f"{path} holds no public key ({e}); remove it or give the .pem of the signer") from e
    if not isinstance(key, Ed25519PublicKey):
        raise SigningError(f"{path} holds a {type(key).__name__}; models are signed with Ed25519")
    return key


def key_id(public: Ed25519PublicKey) -> str:
    """First 16 digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def _pem(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _read_signature(path: Path) -> tuple[str, bytes]:
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_SIGNATURE_MAX_BYTES))
        algorithm, signer = str(said["algorithm"]), str(said["signer"])
        signature = base64.b64decode(said["signature"], validate=True)
    except (OSError, ValueError, KeyError, TypeError, binascii.Error) as e:
        raise SigningError(f"{path} is no signature ({e}); reinstall the model or sign it again") from e
    if algorithm != _ALGORITHM:
        raise SigningError(f"{path} is no signature this version knows ({algorithm}); models are signed with Ed25519")
    return signer, signature


def _default_folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("APPDATA") if os.name == "nt" else environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(base) if base else Path.home() / ".config") / "lineside" / "keys"
    except RuntimeError as e:
        raise SettingsError(f"the keys folder cannot be found: {e}; set LINESIDE_KEYS to a folder") from e
