"""``models keygen | sign | verify | trust | keys``: who made a model, and whose models are loaded here."""

from __future__ import annotations

import argparse
from pathlib import Path

from lineside_workers.errors import SigningError
from lineside_workers.models.manifest import MANIFEST
from lineside_workers.models.signing import PRIVATE, SHIPPED, KeyRing, key_id, make_private, write_public
from lineside_workers.models.store import ModelStore


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to ``models``."""
    keygen = commands.add_parser("keygen", help="make a key that signs models")
    keygen.add_argument("--out", type=Path, help="file for the private key [the key of this machine, trusted here]")
    keygen.set_defaults(run=_keygen)
    sign = commands.add_parser("sign", help="sign a model whose files are as its manifest says")
    sign.add_argument("folder", type=Path, help="model folder")
    sign.add_argument("--key", type=Path, help="file of the private key [the key of this machine]")
    sign.set_defaults(run=_sign)
    verify = commands.add_parser("verify", help="check files and signature of a model")
    verify.add_argument("model", help="model folder, or a task for the model in use")
    verify.set_defaults(run=_verify)
    trust = commands.add_parser("trust", help="load models signed by the owner of a public key")
    trust.add_argument("file", type=Path, help="public key, PEM")
    trust.add_argument("--name", default="", help="name to keep it under [name of the file]")
    trust.set_defaults(run=_trust)
    commands.add_parser("keys", help="list the keys trusted here").set_defaults(run=_keys)


def _keygen(args: argparse.Namespace) -> int:
    ring = KeyRing.from_env()
    if args.out is None:
        own = key_id(ring.local().public_key())
        where = next(k.path for k in ring.trusted() if k.id == own)
        print(f"key {own} in {ring.folder / PRIVATE}; others trust your models with {where}")
        return 0
    if args.out.exists():
        raise SigningError(f"{args.out} exists; models signed with it depend on it: choose another name")
    public = args.out.with_name(f"{args.out.stem}.pub.pem")
    try:
        make_private(args.out)
        own = write_public(args.out, public)
    except OSError as e:
        raise SigningError(f"{args.out} cannot be written: {e.strerror or e}; choose another folder") from e
    print(f"key {own} in {args.out}, keep it secret; to trust it: lineside models trust {public}")
    return 0


def _sign(args: argparse.Namespace) -> int:
    signed = ModelStore.from_env().sign(args.folder, args.key)
    print(f"signed {signed.name} {signed.version} in {args.folder}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    store = ModelStore.from_env()
    folder = Path(args.model) if (Path(args.model) / MANIFEST).is_file() else store.folder(args.model)
    found = store.verify(folder)
    by = f"signed by {found.signer}" if found.signer else "of unproven origin"
    print(f"{found.name} {found.version}: files as signed, {by} ({folder})")
    return 0


def _trust(args: argparse.Namespace) -> int:
    key = KeyRing.from_env().trust(args.file, args.name)
    print(f"models signed by {key.name} ({key.id}) are loaded here from now on; to undo it remove {key.path}")
    return 0


def _keys(_args: argparse.Namespace) -> int:
    for key in KeyRing.from_env().trusted():
        print(f"{key.id}  {key.name:16}  {'ships with Lineside' if key.path.parent == SHIPPED else key.path}")
    return 0
