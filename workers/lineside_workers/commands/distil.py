"""``lineside models distil``: a version for a box without torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lineside_workers.commands.parsing import add_recording, command, say

TASK = "condition"


def add(models: Any) -> None:
    """Add the command to ``models``."""
    parser = command(
        models, "distil", "a version as one small int8 network that ONNX Runtime serves, without torch", _distil,
        ["lineside models distil 56f4063649da var/recorded --models var/models",
         "lineside models distil 56f4063649da var/recorded --labels var/labels.csv --hidden 32 --models var/models"],
        prog="lineside models distil",
    )  # fmt: skip
    parser.add_argument("version_of", metavar="version")
    add_recording(parser)
    parser.add_argument("--models", type=Path, required=True, help="models directory; a candidate more")
    parser.add_argument("--labels", type=Path, help="CSV that 'lineside label' wrote: tells the error of both")
    parser.add_argument("--hidden", default="64,32", help="units of each layer, by commas [64,32]")
    parser.add_argument("--float32", action="store_true", help="leave the weights whole")
    parser.add_argument("--version", default="", help="name of the version [hash of its content]")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights [0]")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N [auto]")


def _distil(args: argparse.Namespace) -> None:
    from lineside_workers.condition import distilling, windows  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.condition.evaluation import config_of  # noqa: PLC0415
    from lineside_workers.hosting import device as devices  # noqa: PLC0415
    from lineside_workers.models.shipped import code_hash, files_hash  # noqa: PLC0415
    from lineside_workers.models.store import ModelStore, Origin  # noqa: PLC0415
    from lineside_workers.models.versions import Versions  # noqa: PLC0415
    from lineside_workers.recorded import labels, reading  # noqa: PLC0415
    from lineside_workers.training import table  # noqa: PLC0415

    versions = Versions(ModelStore(args.models), TASK)
    model = versions.store.load(versions.folder(args.version_of))
    task = config_of(model)
    found = reading.read(args.recording, say)
    reading.check_units(found, task.tags)
    data = windows.rows(found, task)
    data = data.labelled(labels.read(args.labels)) if args.labels else data
    student = distilling.Student(_sizes(args.hidden), int8=not args.float32, seed=args.seed,
                                 device=devices.choose(args.device))  # fmt: skip
    made = distilling.distil(model, data, student, say)
    say(table(made.report))
    origin = Origin(code_hash(TASK), files_hash(sorted(args.recording.rglob("*.parquet"))))
    version = versions.add(made, args.version, origin)
    say(f"{args.models}: candidate {TASK} {version}; next: lineside models compare {args.version_of} {version} "
        f"--recording {args.recording} --models {args.models}, then promote it")  # fmt: skip


def _sizes(text: str) -> tuple[int, ...]:
    from lineside_workers.errors import SettingsError  # noqa: PLC0415 - each command imports what it needs

    sizes = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and 1 <= int(word) <= 4096 for word in sizes):
        raise SettingsError(f"--hidden {text} is no list of layer sizes of 1 to 4096; write 64,32")
    return tuple(map(int, sizes))
