"""``lineside pretrain``, ``finetune`` and ``evaluate-model`` of the condition task."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lineside_workers.commands.parsing import (
    Commands,
    add_learning,
    add_recording,
    add_window,
    command,
    say,
    window_config,
)
from lineside_workers.errors import SettingsError

if TYPE_CHECKING:
    from lineside_workers.condition.splitting import Split
    from lineside_workers.condition.windows import Rows
    from lineside_workers.recorded.reading import Recorded

TASK = "condition"


def add(commands: Commands) -> None:
    """Add the commands."""
    pretrain = command(
        commands, "pretrain", "train an encoder on unlabelled recordings; goes on where it was interrupted", _pretrain,
        ["lineside pretrain var/recorded --out var/encoder",
         "lineside pretrain var/recorded --tags 'Flow [l/min], Pressure [bar]' --period 60 --out var/encoder"],
    )  # fmt: skip
    add_recording(pretrain)
    pretrain.add_argument("--out", type=Path, required=True, help="folder for encoder, checkpoint and curves")
    pretrain.add_argument("--split", type=Path, help="JSON with lists train, validation and test of units [proposed]")
    pretrain.add_argument("--epochs", type=int, default=30, help="epochs at most [30]")
    add_window(pretrain)
    add_learning(pretrain)
    finetune = command(
        commands, "finetune", "train heads, trees and the naive rule on labels; the best on validation units is kept",
        _finetune,
        ["lineside finetune var/recorded --encoder var/encoder --labels var/labels.csv --models var/models"],
    )  # fmt: skip
    add_recording(finetune)
    finetune.add_argument("--encoder", type=Path, required=True, help="folder that 'lineside pretrain' wrote")
    finetune.add_argument("--labels", type=Path, required=True, help="CSV that 'lineside label' wrote")
    finetune.add_argument(
        "--models", type=Path, required=True, help="models directory; the version becomes a candidate"
    )
    finetune.add_argument("--split", type=Path, help="another split than the encoder's")
    finetune.add_argument("--version", default="", help="name of the version [hash of its content]")
    finetune.add_argument("--miss-cost", type=float, default=8.0, help="cost of a window before an event, no flag [8]")
    finetune.add_argument("--alarm-cost", type=float, default=1.0, help="cost of a window with a flag for nothing [1]")
    add_learning(finetune)


def _pretrain(args: argparse.Namespace) -> None:
    from lineside_workers import device as devices  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.condition import pretraining, splitting, windows  # noqa: PLC0415
    from lineside_workers.recorded import reading  # noqa: PLC0415

    devices.limit_threads(args.threads)
    device = devices.choose(args.device)
    config = window_config(args)
    found = reading.read(args.recording, say)
    reading.check_units(found, config.tags)
    data = windows.rows(found, config)
    split = splitting.read(args.split) if args.split else splitting.propose(_events_by_unit(found, data), args.seed)
    _say_split(split)
    recipe = pretraining.Recipe(epochs=args.epochs)
    done = pretraining.pretrain(data, config, split, recipe, args.out, seed=args.seed, device=device, say=say)
    say(f"{args.out}: encoder of {len(config.tags)} tags, validation loss {min(done.losses):.4f}, device {device}")


def _finetune(args: argparse.Namespace) -> None:
    from lineside_workers import device as devices  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.condition import finetuning, pretraining, related, splitting, windows  # noqa: PLC0415
    from lineside_workers.recorded import labels, reading  # noqa: PLC0415
    from lineside_workers.shipped import code_hash, files_hash  # noqa: PLC0415
    from lineside_workers.store import ModelStore, Origin  # noqa: PLC0415
    from lineside_workers.training import table  # noqa: PLC0415
    from lineside_workers.versions import Versions  # noqa: PLC0415

    devices.limit_threads(args.threads)
    pretrained = pretraining.load(args.encoder)
    if args.split:
        wanted = splitting.read(args.split)
        finetuning.check_split(pretrained, wanted)
        pretrained = pretraining.with_split(pretrained, wanted)
    given = labels.read(args.labels)
    found = reading.read(args.recording, say)
    reading.check_units(found, pretrained.config.tags)
    data = windows.rows(found, pretrained.config).labelled(given)
    _say_split(pretrained.split)
    costs = finetuning.Costs(args.miss_cost, args.alarm_cost)
    trained = finetuning.finetune(
        data, pretrained, args.labels.name, costs, seed=args.seed, device=devices.choose(args.device), say=say
    )
    followed = related.learned(found, pretrained.config, {*pretrained.split.train, *pretrained.split.validation})
    trained = replace(
        trained,
        metrics={**trained.metrics, "events": sum(row.label == 1 for row in given)},
        config={**trained.config, "relations": [r.to_json() for r in followed]},
    )
    say("sensors followed by what the others say: " + (", ".join(r.tag for r in followed) or "none hang together"))
    say(table(trained.report))
    data_files = [*sorted(args.recording.rglob("*.parquet")), args.labels]
    origin = Origin(code_hash(TASK), files_hash(data_files))
    version = Versions(ModelStore(args.models), TASK).add(trained, args.version, origin)
    say(f"{args.models}: candidate {TASK} {version}; next: lineside models promote {version} --to shadow")


def evaluate(args: argparse.Namespace) -> int:
    """Measure a version of the condition task, and write the page.

    Raises:
        SettingsError: Labels are not given.
    """
    from lineside_workers import device as devices  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.condition import evaluation  # noqa: PLC0415
    from lineside_workers.recorded import labels, reading  # noqa: PLC0415
    from lineside_workers.store import ModelStore  # noqa: PLC0415
    from lineside_workers.training import table  # noqa: PLC0415

    if args.labels is None:
        raise SettingsError("task 'condition' is measured against labels; give --labels, see lineside label")
    store = ModelStore.from_env()
    model = store.load(args.model or store.folder(TASK))
    found = reading.read(args.recordings, say)
    reading.check_units(found, evaluation.config_of(model).tags)
    judged = evaluation.judge(model, found, labels.read(args.labels), devices.choose(args.device))
    rows = evaluation.figures(judged, model.config["costs"])  # type: ignore[arg-type]  # as finetune writes it
    alarms = evaluation.alarms(judged)
    say(table(rows))
    warned = [h for h in alarms.lead_h if h is not None]
    ahead = f", median {np.median(warned):.1f} h ahead" if warned else ""
    say(f"{len(warned)} of {len(alarms.lead_h)} events foreseen{ahead}; "
        f"{alarms.nuisance} flags for nothing in {alarms.machine_weeks:.1f} machine weeks")  # fmt: skip
    say(f"page: {evaluation.write(args.out or Path('evaluation.html'), model, judged, rows, alarms)}")
    return 0


def _events_by_unit(found: Recorded, data: Rows) -> dict[str, int]:
    from lineside_workers.recorded.reading import unit_of  # noqa: PLC0415

    failures = Counter(unit_of(str(e["equipment_id"])) for e in found.events if e["kind"] == "failure")
    return {unit: failures[unit] for unit in set(data.unit.tolist())}


def _say_split(split: Split) -> None:
    say(f"train {', '.join(split.train)}; validation {', '.join(split.validation)}; test {', '.join(split.test)}")
