"""``lineside retrain``: label, pretrain, fine-tune and promote to shadow in one go, where there is a reason to."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lineside_plugins.tasks.condition.config import Head
from lineside_workers.commands.parsing import Commands, add_recording, command, say
from lineside_workers.errors import SettingsError

if TYPE_CHECKING:
    from lineside_workers.models.versions import Versions
    from lineside_workers.recorded.reading import Recorded

TASK = "condition"
ABSTAINED_SHARE = 0.05  # of what the newest day's windows got; a passing state stays below
WHEN = ("always", "schedule", "drift", "labels")


def add(commands: Commands, run: Callable[[list[str]], int]) -> None:
    """Add the command; ``run`` executes one command line of the workers and returns its exit code."""
    parser = command(
        commands, "retrain", "train a new version where there is a reason to, and promote it to shadow",
        lambda args: _retrain(args, run),
        ["lineside retrain var/recorded --models var/models --work var/retraining",
         "lineside retrain var/recorded --models var/models --work var/retraining --when schedule,drift,labels",
         "lineside retrain var/recorded --models var/models --work var/retraining --when labels --min-labels 5"],
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
    parser.add_argument("--kind", default="failure", help="kinds of events that are to be foreseen [failure]")
    parser.add_argument("--horizon-h", type=float, default=24.0, help="how far ahead, h [24]")
    parser.add_argument("--trials", type=int, help="as of lineside finetune")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of pretraining at most [30]")


def _retrain(args: argparse.Namespace, run: Callable[[list[str]], int]) -> int:
    _check_head(args.models)
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    if (reason := _reason(args)) is None:
        return 0
    if args.dry_run:
        say(f"would retrain: {reason}")
        return 0
    say(f"retraining as {name}: {reason}")
    work, recording = args.work / name, str(args.recording)
    version = ["--version", name, *([] if args.trials is None else ["--trials", str(args.trials)])]
    labels, encoder, models = str(work / "labels.csv"), str(work / "encoder"), str(args.models)
    for step in (
        ["label", recording, "--kind", args.kind, "--horizon-h", str(args.horizon_h), "--out", labels],
        ["pretrain", recording, "--epochs", str(args.epochs), "--out", encoder],
        ["finetune", recording, "--encoder", encoder, "--labels", labels, "--models", models, *version],
        ["models", "promote", name, "--to", "shadow", "--models", models, "--task", TASK],
    ):
        if code := run(step):
            return code
    return 0


def _check_head(models: Path) -> None:
    from lineside_workers.condition.evaluation import config_of  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.models.store import ModelStore  # noqa: PLC0415
    from lineside_workers.models.versions import Versions  # noqa: PLC0415

    versions = Versions(ModelStore(models), TASK)
    full = versions.rollout().full
    head = config_of(versions.store.load(versions.folder(full))).head if full else Head.CLASSIFICATION
    if head is not Head.CLASSIFICATION:
        raise SettingsError(
            f"version '{full}' in full has head '{head}', and retrain asks for an event; "
            f"run lineside label, pretrain and finetune --head {head}"
        )


def _reason(args: argparse.Namespace) -> str | None:
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
        "labels": lambda: _by_labels(args, found),
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


def _by_labels(args: argparse.Namespace, found: Recorded) -> tuple[bool, str]:
    more = _events(found, args.kind) - _events_known(args)
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


def _events(found: Recorded, kinds: str) -> int:
    """Stretches before an event, as ``lineside label`` finds them."""
    from lineside_workers.recorded import labels  # noqa: PLC0415 - each command imports what it needs

    wanted = tuple(k.strip() for k in kinds.split(","))
    return sum(row.label == 1 for row in labels.from_events(found, labels.Question(wanted)))


def _events_known(args: argparse.Namespace) -> int:
    versions = _versions(args)
    full = versions.rollout().full
    if not full:
        raise SettingsError(f"{args.models} has no version of '{TASK}' in full to compare with; use --when always")
    known = versions.store.load(versions.folder(full)).metrics.get("events")
    return known if isinstance(known, int) else 0


def _versions(args: argparse.Namespace) -> Versions:
    from lineside_workers.models.store import ModelStore  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.models.versions import Versions  # noqa: PLC0415

    return Versions(ModelStore(args.models), TASK)
