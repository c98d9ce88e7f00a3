"""``lineside retrain``: label, pretrain, fine-tune and promote to shadow in one go, where there is a reason to.

The new version is asked what the one in full is asked: head and options, tags, window, costs, and ``--spread``; it is
split by time where that one was.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lineside_plugins.tasks.condition.config import ConditionConfig, Head
from lineside_workers.commands import finetune, learn, question
from lineside_workers.commands.parsing import Commands, add_recording, command, say, window_options
from lineside_workers.errors import SettingsError

if TYPE_CHECKING:
    from lineside_workers.models.versions import Versions
    from lineside_workers.recorded.reading import Recorded

TASK = "condition"
ABSTAINED_SHARE = 0.05  # of what the newest day's windows got; a passing state stays below
WHEN = ("always", "schedule", "drift", "labels")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the version ``name`` in full was trained for, from how many events; as a first version is where none is."""

    name: str = ""
    config: ConditionConfig = field(default_factory=ConditionConfig)
    model: Mapping[str, Any] | None = None
    events: int = 0
    by_time: bool = False

    @property
    def options(self) -> list[str]:
        """For ``lineside finetune``."""
        return [] if self.model is None else finetune.asked_again(self.config, self.model)


def add(commands: Commands, run: Callable[[list[str]], int]) -> None:
    """Add the command; ``run`` executes one command line of the workers and returns its exit code."""
    parser = command(
        commands, "retrain", "train a new version where there is a reason to, and promote it to shadow",
        lambda args: _retrain(args, run),
        ["lineside retrain var/recorded --models var/models --work var/retraining",
         "lineside retrain var/recorded --models var/models --work var/retraining --when schedule,drift,labels",
         "lineside retrain var/recorded --models var/models --work var/retraining --when labels --min-labels 5",
         "lineside retrain var/recorded --models var/models --work var/retraining --quantity hours-left --horizon-h 48",
         "lineside retrain var/recorded --models var/models --work var/retraining --from inspections.csv"],
    )  # fmt: skip
    add_recording(parser)
    parser.add_argument("--models", type=Path, required=True, help="models directory")
    parser.add_argument("--work", type=Path, required=True, help="folder for labels and encoders, one folder per run")
    parser.add_argument("--when", default="always", help="one or more by commas, one of which is enough; schedule: no "
                        "version is younger than --every-h; drift: the newest day's windows are abstained from; "
                        "labels: --min-labels more events than the version in full knew [always]")  # fmt: skip
    parser.add_argument("--every-h", type=float, default=168.0, help="age of the newest version, h [168, a week]")
    parser.add_argument("--dry-run", action="store_true", help="say whether there is a reason, and train nothing")
    parser.add_argument("--min-labels", type=int, default=3, help="new events that are worth it [3]")
    question.add(parser)
    parser.add_argument("--trials", type=int, help="as of lineside finetune")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of pretraining at most [30]")


def _retrain(args: argparse.Namespace, run: Callable[[list[str]], int]) -> int:
    asked = _asked(args.models)
    _check(args, asked)
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    if (reason := _reason(args, asked)) is None:
        return 0
    if args.dry_run:
        say(f"would retrain: {reason}")
        return 0
    say(f"retraining as {name}: {reason}")
    for step in _steps(args, asked, name):
        if code := run(step):
            return code
    return 0


def _steps(args: argparse.Namespace, asked: _Asked, name: str) -> list[list[str]]:
    """The command lines, one after the other."""
    work, recording = args.work / name, str(args.recording)
    labels, encoder, models = str(work / "labels.csv"), str(work / "encoder"), str(args.models)
    version = ["--version", name, *([] if args.trials is None else ["--trials", str(args.trials)])]
    labelled = asked.config.head is not Head.FORECASTING
    label = ["label", recording, *question.handed_on(args), "--out", labels]
    pretrain = ["pretrain", recording, *window_options(asked.config), "--epochs", str(args.epochs), "--out", encoder]
    pretrain += ["--split", learn.BY_TIME] if asked.by_time else []
    given = ["--encoder", encoder, *(["--labels", labels] if labelled else []), "--models", models]
    return [
        *([label] if labelled else []),
        pretrain,
        ["finetune", recording, *given, *asked.options, *version],
        ["models", "promote", name, "--to", "shadow", "--models", models, "--task", TASK],
    ]


def _asked(models: Path) -> _Asked:
    from lineside_workers.condition.evaluation import config_of  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.models.store import ModelStore  # noqa: PLC0415
    from lineside_workers.models.versions import Versions  # noqa: PLC0415

    versions = Versions(ModelStore(models), TASK)
    full = versions.rollout().full
    if not full:
        return _Asked()
    model = versions.store.load(versions.folder(full))
    known = model.metrics.get("events")
    units = cast("Mapping[str, object]", model.metrics.get("units", {}))
    return _Asked(full, config_of(model), model.config, known if isinstance(known, int) else 0, "cuts" in units)


def _check(args: argparse.Namespace, asked: _Asked) -> None:
    """Check that the labels asked for are what the head learns from.

    Raises:
        SettingsError: They are not.
    """
    head = asked.config.head
    if head is Head.CLASSES and args.source in (question.EVENTS, question.ANSWERS):
        raise SettingsError(f"version '{asked.name}' in full tells classes apart; bring their labels: --from FILE")
    if head in (Head.REGRESSION, Head.QUANTILES) and args.source == question.EVENTS and not args.quantity:
        raise SettingsError(
            f"version '{asked.name}' in full has head '{head}', which learns from values; say which: "
            "--quantity hours-left, --quantity measured, or --from FILE"
        )


def _reason(args: argparse.Namespace, asked: _Asked) -> str | None:
    """Why a new version is worth training; None, and a line that says so, where it is not.

    Raises:
        SettingsError: ``--when`` names what there is not.
    """
    from lineside_workers.recorded import reading  # noqa: PLC0415 - each command imports what it needs

    wanted = [w.strip() for w in args.when.split(",") if w.strip()]
    if not wanted or (unknown := [w for w in wanted if w not in WHEN]):
        what = unknown[0] if wanted else ""
        raise SettingsError(f"--when has '{what}'; expected one or more of {', '.join(WHEN)} by commas")
    if "always" in wanted:
        return "as asked"
    found = reading.read(args.recording)
    causes = {
        "schedule": lambda: _by_age(args),
        "drift": lambda: _by_drift(found),
        "labels": lambda: _by_labels(args, asked, found),
    }
    told = [causes[w]() for w in wanted]
    if due := [text for is_due, text in told if is_due]:
        return "; ".join(due)
    say("nothing to do: " + "; ".join(text for _, text in told))
    return None


def _by_age(args: argparse.Namespace) -> tuple[bool, str]:
    from lineside_workers.models.versions import created  # noqa: PLC0415 - each command imports what it needs

    versions = _versions(args)
    names = versions.names()
    if not names:
        return True, "there is no version yet"
    age_h = (datetime.now(UTC) - datetime.fromisoformat(created(versions.folder(names[-1])))).total_seconds() / 3600
    return age_h >= args.every_h, f"the newest version, {names[-1]}, is {age_h:.1f} h old, --every-h {args.every_h:g}"


def _by_drift(found: Recorded) -> tuple[bool, str]:
    share = abstained_share(found)
    text = f"{share:.1%} of the newest day's windows were abstained from, {ABSTAINED_SHARE:.0%} are a cause"
    return share >= ABSTAINED_SHARE, text


def _by_labels(args: argparse.Namespace, asked: _Asked, found: Recorded) -> tuple[bool, str]:
    from lineside_workers.recorded import labels  # noqa: PLC0415 - each command imports what it needs

    if not asked.name:
        raise SettingsError(f"{args.models} has no version of '{TASK}' in full to compare with; use --when always")
    if asked.config.head is Head.FORECASTING:
        return False, f"head '{asked.config.head}' needs no labels"
    more = labels.known_events(question.rows(args, found)) - asked.events
    return more >= args.min_labels, f"{more} events more than the version in full knew, --min-labels {args.min_labels}"


def abstained_share(found: Recorded) -> float:
    """Share of abstentions among what the newest recorded day's windows got from the task; 0 where nothing was said."""
    stages = ("full", "canary", "abstained")
    said = [r for r in found.recommendations if r.get("task") == TASK and r.get("stage") in stages]
    if not said:
        return 0.0
    newest = max(datetime.fromisoformat(str(r["time"])) for r in said) - timedelta(days=1)
    recent = [r for r in said if datetime.fromisoformat(str(r["time"])) > newest]
    return sum(r["stage"] == "abstained" for r in recent) / len(recent)


def _versions(args: argparse.Namespace) -> Versions:
    from lineside_workers.models.store import ModelStore  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.models.versions import Versions  # noqa: PLC0415

    return Versions(ModelStore(args.models), TASK)
