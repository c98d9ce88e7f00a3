"""``lineside pretrain`` and ``evaluate-model`` of the condition task."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lineside_plugins.tasks.condition.config import ConditionConfig, Head
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
    from lineside_workers.condition.windows import Rows
    from lineside_workers.recorded.reading import Recorded
    from lineside_workers.recorded.splitting import Split

TASK = "condition"
ALL, BY_TIME = "all", "time"


def add(commands: Commands) -> None:
    """Add the commands."""
    pretrain = command(
        commands, "pretrain", "train an encoder on unlabelled recordings; goes on where it was interrupted", _pretrain,
        ["lineside pretrain var/recorded --out var/encoder",
         "lineside pretrain var/recorded --devices cuda:0,1 --pairs 4096 --epochs 100 --out var/encoder",
         "lineside pretrain var/plants --tags all --out var/encoder",
         "lineside pretrain var/recorded --tags 'Flow [l/min], Pressure [bar]' --period 60 --out var/encoder"],
    )  # fmt: skip
    add_recording(pretrain)
    pretrain.add_argument("--out", type=Path, required=True, help="folder for encoder, checkpoint and curves")
    pretrain.add_argument("--split", help="JSON with lists train, validation and test of units, or 'time': the newest "
                          "stretch of each judges [whole units; by time where there are fewer than three]")  # fmt: skip
    pretrain.add_argument("--epochs", type=int, default=30, help="epochs at most [30]")
    pretrain.add_argument("--pairs", type=int, default=128, help="pairs of windows per step, over all devices [128]")
    add_window(pretrain)
    add_learning(pretrain, several=True)


def _pretrain(args: argparse.Namespace) -> None:
    from lineside_workers.condition import channels, pretraining, run, windows  # noqa: PLC0415
    from lineside_workers.hosting import device as devices  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.recorded import reading  # noqa: PLC0415

    devices.limit_threads(args.threads)
    chosen = devices.several(args.devices)
    found = reading.read(args.recording, say)
    if args.tags == ALL:
        among = channels.recorded(found)
        args.tags = ", ".join(f"{tag} [{unit}]" for tag, unit in among)
        config = window_config(args)
    else:
        among, config = (), window_config(args)
        reading.check_units(found, config.tags)
    data = windows.rows(found, config, among=among or None)
    split = _split(args, found, data, config)
    say_split(split)
    data = data.cut(split, config)
    recipe = run.Recipe(epochs=args.epochs, pairs=args.pairs)
    done = pretraining.pretrain(data, config, split, pretraining.Means(args.out, recipe, args.seed, chosen), say, among)
    say(f"{args.out}: encoder of {len(done.channels)} channels, validation loss {min(done.losses):.4f}")


def evaluate(args: argparse.Namespace) -> int:
    """Measure a version of the condition task, and write the page.

    Raises:
        SettingsError: Labels are not given, and the model does not forecast.
    """
    from lineside_workers.condition import evaluation  # noqa: PLC0415
    from lineside_workers.hosting import device as devices  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.models.store import ModelStore  # noqa: PLC0415
    from lineside_workers.recorded import labels, reading, spans  # noqa: PLC0415
    from lineside_workers.reports import condition as page  # noqa: PLC0415
    from lineside_workers.training import table  # noqa: PLC0415

    store = ModelStore.from_env()
    model = store.load(args.model or store.folder(TASK))
    task = evaluation.config_of(model)
    if args.labels is None and task.head is not Head.FORECASTING:
        raise SettingsError("task 'condition' is measured against labels; give --labels, see lineside label")
    found = reading.read(args.recordings, say)
    reading.check_units(found, task.tags)
    given = labels.read(args.labels) if args.labels else []
    judged = evaluation.judge(model, found, given, devices.choose(args.device))
    rows = evaluation.figures(judged, model.config["costs"])  # type: ignore[arg-type]  # as finetune writes it
    alarms = evaluation.alarms(judged)
    say(table(rows))
    if judged.foresees:
        warned = [h for h in alarms.lead_h if h is not None]
        ahead = f", median {spans.said(3600 * float(np.median(warned)))} ahead" if warned else ""
        say(f"{len(warned)} of {len(alarms.lead_h)} events foreseen{ahead}; "
            f"{alarms.nuisance} flags for nothing in {spans.said(alarms.looked_s)} of machine time")  # fmt: skip
    say(f"page: {page.write(args.out or Path('evaluation.html'), model, judged, rows, alarms)}")
    return 0


def _split(args: argparse.Namespace, found: Recorded, data: Rows, config: ConditionConfig) -> Split:
    """The one given, or whole units, or by time."""
    from lineside_workers.condition import windows  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.recorded import splitting  # noqa: PLC0415

    if args.split and args.split != BY_TIME:
        return splitting.read(Path(args.split))
    units = _events_by_unit(found, data)
    if not args.split and len(units) >= len(splitting.PARTS):
        return splitting.propose(units, args.seed)
    return splitting.by_time(data.unit, data.end_us, sum(windows.reach_us(config)))


def _events_by_unit(found: Recorded, data: Rows) -> dict[str, int]:
    from lineside_workers.recorded.reading import unit_of  # noqa: PLC0415

    failures = Counter(unit_of(str(e["equipment_id"])) for e in found.events if e["kind"] == "failure")
    return {unit: failures[unit] for unit in set(data.unit.tolist())}


def say_split(split: Split) -> None:
    """Who does what."""
    say(f"train {', '.join(split.train)}; validation {', '.join(split.validation)}; test {', '.join(split.test)}")
    if split.cuts:
        say(f"parts are of time, cut at {', '.join(cut[:16] for cut in split.cuts)}")
