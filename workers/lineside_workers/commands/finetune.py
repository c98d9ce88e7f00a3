"""``lineside finetune``: from an encoder and labels to a version of the condition task."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineside_plugins import registry
from lineside_plugins.tasks.condition.config import ConditionConfig, Head
from lineside_workers.commands.learn import TASK, say_split
from lineside_workers.commands.parsing import Commands, add_learning, add_recording, command, say, tags_of
from lineside_workers.errors import SettingsError

if TYPE_CHECKING:
    from lineside_plugins.contract import TrainedModel
    from lineside_workers.condition.finetuning import Job
    from lineside_workers.condition.lives import Lives
    from lineside_workers.condition.pretraining import Pretrained
    from lineside_workers.recorded.labels import Label

HEAD_OPTIONS = ("classes", "unit", "quantiles", "forecast", "ahead_h", "alarm_above", "alarm_below")
BASE = "lineside finetune var/recorded --encoder var/encoder --models var/models"


def add(commands: Commands) -> None:
    """Add the command."""
    finetune = command(
        commands, "finetune", "train heads, trees and the naive rule; the best on validation units is kept", _finetune,
        [f"{BASE} --labels var/labels.csv",
         f"{BASE} --labels var/hours.csv --head regression --unit h --alarm-below 12",
         f"{BASE} --labels var/few.csv --head regression --unit h --spread",
         f"{BASE} --head forecasting --forecast SpindleTemp --ahead-h 6,24 --alarm-above 70",
         f"{BASE} --labels var/labels.csv --head anomaly --trials 20",
         f"{BASE} --labels var/modes.csv --head classes --classes normal,bearing,spindle",
         f"{BASE} --labels var/labels.csv --tags 'VibRms [mm/s], MotorCurrent [A]'"],
    )  # fmt: skip
    add_recording(finetune)
    finetune.add_argument("--encoder", type=Path, required=True, help="folder that 'lineside pretrain' wrote")
    finetune.add_argument("--labels", type=Path, help="CSV that 'lineside label' wrote; forecasting needs none")
    finetune.add_argument(
        "--models", type=Path, required=True, help="models directory; the version becomes a candidate"
    )
    finetune.add_argument("--split", type=Path, help="another split than the encoder's")
    finetune.add_argument("--version", default="", help="name of the version [hash of its content]")
    finetune.add_argument("--miss-cost", type=float, default=8.0, help="cost of a window before an event, no flag [8]")
    finetune.add_argument("--alarm-cost", type=float, default=1.0, help="cost of a window with a flag for nothing [1]")
    finetune.add_argument("--tags", help="tags with units, by commas; may differ from the encoder's [the encoder's]")
    add_head(finetune)
    finetune.add_argument("--spread", action="store_true", help="time that is left: learn from training machines "
                          "without labels too, each of which leads from new or repaired to one end")  # fmt: skip
    finetune.add_argument("--trials", type=int, help="settings tried per candidate, by Optuna, on validation units; "
                          "0 takes the usual ones [6 with lineside[tuning], else 0]")  # fmt: skip
    finetune.add_argument("--work", type=Path, help="folder of the search, which goes on there [that of the encoder]")
    add_learning(finetune)


def add_head(parser: Any) -> None:
    """The head and its options."""
    parser.add_argument("--head", choices=[h.value for h in Head], default=Head.CLASSIFICATION.value,
                        help="what is asked of a window [classification]")  # fmt: skip
    parser.add_argument(
        "--classes", help="classes: names of the labelled values 0, 1, ..., by commas; the first is normal"
    )
    parser.add_argument("--unit", default="", help="regression, quantiles: unit of the labelled value")
    parser.add_argument("--quantiles", help="quantiles: which, by commas [0.05,0.5,0.95]")
    parser.add_argument("--forecast", default="", help="forecasting: tag [the first]")
    parser.add_argument("--ahead-h", help="forecasting: how far ahead, h, by commas [6,24]")
    parser.add_argument("--alarm-above", type=float, help="a value above raises the flag")
    parser.add_argument("--alarm-below", type=float, help="a value below raises the flag")


def _finetune(args: argparse.Namespace) -> None:
    from lineside_workers.condition import finetuning, lives, pretraining, related, tuning, windows  # noqa: PLC0415
    from lineside_workers.hosting import device as devices  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.recorded import labels, reading  # noqa: PLC0415
    from lineside_workers.training import table  # noqa: PLC0415

    devices.limit_threads(args.threads)
    trials = tuning.trials(args.trials)
    pretrained = _encoder(args)
    task = task_of(args, pretrained.config)
    if args.spread:
        lives.check(task)
    given = _labels(args, task)
    found = reading.read(args.recording, say)
    reading.check_units(found, task.tags)
    data = windows.rows(found, task)
    data = (data.labelled(given) if given else data).cut(pretrained.split, task)
    pretrained = pretraining.fit_to(pretrained, task.tags, data.of(pretrained.split.train), say)
    say_split(pretrained.split)
    job = _job(args, task, trials, lives.of(data, found.events) if args.spread else None)
    trained = finetuning.finetune(data, pretrained, job, say)
    followed = related.learned(found, task, pretrained.split)
    trained = replace(trained, config={**trained.config, "relations": [r.to_json() for r in followed]})
    hang = ", ".join(r.tag for r in followed if not r.machine) or "none hang together"
    say(f"sensors followed by what the others say: {hang}")
    say(table(trained.report))
    _keep(args, trained, labels.known_events(given))
    say(f"config to bind it with: {_binding(task)}")


def _encoder(args: argparse.Namespace) -> Pretrained:
    """The encoder, for its own split or for another that does not leak."""
    from lineside_workers.condition import finetuning, pretraining  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.recorded import splitting  # noqa: PLC0415

    pretrained = pretraining.load(args.encoder)
    if not args.split:
        return pretrained
    wanted = splitting.read(args.split)
    finetuning.check_split(pretrained, wanted)
    return pretraining.with_split(pretrained, wanted)


def _job(args: argparse.Namespace, task: ConditionConfig, trials: int, lives: Lives | None) -> Job:
    from lineside_workers.condition import finetuning, heads  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.hosting import device as devices  # noqa: PLC0415

    costs = heads.Costs(args.miss_cost, args.alarm_cost)
    question = args.labels.name if args.labels else f"{task.forecast_tag} ahead"
    device = devices.choose(args.device)
    return finetuning.Job(task, question, costs, args.work or args.encoder, args.seed, device, trials, lives)


def task_of(args: argparse.Namespace, base: ConditionConfig) -> ConditionConfig:
    """The configuration the model will be served with, on tags and window of ``base``.

    Raises:
        TaskError: An option does not fit.
        SettingsError: A list has something that is no number.
    """
    own: dict[str, Any] = {n: getattr(args, n) for n in HEAD_OPTIONS if getattr(args, n) not in (None, "")}
    if "classes" in own:
        own["classes"] = [name.strip() for name in own["classes"].split(",")]
    for name in ("quantiles", "ahead_h"):
        if name in own:
            own[name] = _numbers(name, own[name])
    tags = tags_of(args.tags) if args.tags else base.tags
    given = {"tags": tags, "length": base.length, "period_s": base.period_s, "head": args.head, **own}
    config = registry.create(TASK, given).config
    assert isinstance(config, ConditionConfig)  # noqa: S101  the task's own
    return config


def asked_again(config: ConditionConfig, model: Mapping[str, Any]) -> list[str]:
    """The options by which a ``model`` was fine-tuned that serves with ``config``."""
    costs = model["costs"]
    said = [f"--head={config.head}", f"--miss-cost={costs['miss']}", f"--alarm-cost={costs['alarm']}"]
    said += ["--spread"] if model.get("spread") else []
    for name in HEAD_OPTIONS:
        value = getattr(config, name)
        if value not in (None, "", ()):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            said.append(f"--{name.replace('_', '-')}={text}")
    return said


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise SettingsError(f"--{name.replace('_', '-')} {text} is no list of numbers; write 6,24") from None


def _labels(args: argparse.Namespace, task: ConditionConfig) -> list[Label]:
    from lineside_workers.recorded import labels  # noqa: PLC0415 - each command imports what it needs

    if args.labels:
        return labels.read(args.labels)
    if task.head is not Head.FORECASTING:
        raise SettingsError(f"head '{task.head}' learns from labels; give --labels, see lineside label")
    return []


def _keep(args: argparse.Namespace, trained: TrainedModel, events: int) -> None:
    from lineside_workers.models.shipped import code_hash, files_hash  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.models.store import ModelStore, Origin  # noqa: PLC0415
    from lineside_workers.models.versions import Versions  # noqa: PLC0415

    whole = replace(trained, metrics={**trained.metrics, "events": events})
    data_files = [*sorted(args.recording.rglob("*.parquet")), *([args.labels] if args.labels else [])]
    origin = Origin(code_hash(TASK), files_hash(data_files))
    version = Versions(ModelStore(args.models), TASK).add(whole, args.version, origin)
    say(f"{args.models}: candidate {TASK} {version}; next: lineside models promote {version} --to shadow")


def _binding(task: ConditionConfig) -> str:
    """What differs from the task's defaults, as YAML on one line."""
    usual = ConditionConfig().model_dump(mode="json")
    own = {k: v for k, v in task.model_dump(mode="json").items() if v != usual[k]}
    return "{" + ", ".join(f"{k}: {json.dumps(v)}" for k, v in own.items()) + "}" if own else "nothing but its defaults"
