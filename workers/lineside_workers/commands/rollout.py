"""``lineside models list | show | promote | rollback | compare``: versions, and who sees what they say."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineside_workers.commands.parsing import command, say
from lineside_workers.errors import RolloutError

if TYPE_CHECKING:
    from lineside_workers.hosting.runner import Runner
    from lineside_workers.models.versions import Versions

STAGES = ("shadow", "canary", "full")
SHOWN = 20  # differences printed; the rest is counted


def add(models: Any) -> None:
    """Add the commands to ``models``."""
    listing = _command(models, "list", "versions of each task and their stages", _list, ["lineside models list"])
    listing.add_argument("--task", default="", help="only this task")
    show = _command(
        models, "show", "one version: origin, figures, candidates", _show, ["lineside models show 56f4063649da"]
    )
    show.add_argument("version")
    promote = _command(
        models, "promote", "move a version one stage up: shadow, canary, full", _promote,
        ["lineside models promote 56f4063649da --to shadow",
         "lineside models promote 56f4063649da --to canary --equipment A1",
         "lineside models promote 56f4063649da --to full"],
    )  # fmt: skip
    promote.add_argument("version")
    promote.add_argument("--to", choices=STAGES, required=True)
    promote.add_argument("--equipment", default="", help="equipment_ids that the canary answers for, by commas")
    promote.add_argument(
        "--max-drift", type=float, help="how far it may flag or abstain otherwise than full, 0..1 [0.3]"
    )
    promote.add_argument("--skip-stages", action="store_true", help="leave out stages, or what they would show")
    rollback = _command(
        models, "rollback", "take back the canary, else the shadow, else the version in full", _rollback,
        ["lineside models rollback --cause 'too many alarms'", "lineside models rollback --version 56f4063649da"],
    )  # fmt: skip
    rollback.add_argument("--version", default="", help="which [the canary, else the newest shadow, else full]")
    rollback.add_argument("--cause", default="", help="why, for the history")
    compare = _command(
        models, "compare", "replay a recording through two versions and list where they differ", _compare,
        ["lineside models compare 56f4063649da 9a1b33c0ffee --recording var/recorded --day 2026-01-10",
         "lineside models compare 56f4063649da 9a1b33c0ffee --recording var/recorded --html var/compared.html"],
    )  # fmt: skip
    compare.add_argument("one")
    compare.add_argument("other")
    compare.add_argument("--recording", type=Path, required=True, help="folder of a recording")
    compare.add_argument("--day", default="", help="only windows that end on this day, 2026-01-10 [all]")
    compare.add_argument("--all", action="store_true", help=f"every difference, not the first {SHOWN}")
    compare.add_argument("--html", type=Path, help="write a page too, with both over time")


def _command(models: Any, name: str, about: str, run: Any, examples: list[str]) -> Any:
    parser = command(models, name, about, run, examples, prog=f"lineside models {name}")
    parser.add_argument("--models", type=Path, help="models directory [LINESIDE_MODELS]")
    if name != "list":
        parser.add_argument("--task", default="", help="task [the one that has versions]")
    return parser


def _versions(args: argparse.Namespace) -> Versions:
    found = _all(args)
    wanted = [v for v in found if args.task in ("", v.task)]
    if len(wanted) != 1:
        have = ", ".join(v.task for v in found) or "none"
        raise RolloutError(f"tasks with versions: {have}; choose one with --task" if found else
                           "the models directory holds no versions; lineside finetune makes one")  # fmt: skip
    return wanted[0]


def _all(args: argparse.Namespace) -> list[Versions]:
    from lineside_workers.models.store import ModelStore  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.models.versions import Versions  # noqa: PLC0415

    root = args.models or (Path(os.environ["LINESIDE_MODELS"]) if os.environ.get("LINESIDE_MODELS") else None)
    store = ModelStore(root)
    if root is None:
        raise RolloutError("there is no models directory; give --models or set LINESIDE_MODELS")
    if not root.is_dir():
        raise RolloutError(f"models directory {root} does not exist; lineside finetune --models {root} makes it")
    found = [Versions(store, p.name) for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    return [v for v in found if v.names()]


def _list(args: argparse.Namespace) -> None:
    from lineside_workers.models.versions import created  # noqa: PLC0415
    from lineside_workers.training import table  # noqa: PLC0415 - each command imports what it needs

    rows = []
    for versions in _all(args):
        rollout = versions.rollout()
        for name in versions.names() if args.task in ("", versions.task) else ():
            stage = rollout.stage_of(name)
            where = ", ".join(rollout.equipment) if name == rollout.canary else ""
            rows.append({"task": versions.task, "version": name, "stage": stage.value, "equipment": where,
                         "created": created(versions.home / name)})  # fmt: skip
    say(table(rows) if rows else "no versions; lineside finetune makes one")


def _show(args: argparse.Namespace) -> None:
    from lineside_workers.models import promotion  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.models.manifest import MANIFEST, REPORT  # noqa: PLC0415
    from lineside_workers.training import table  # noqa: PLC0415
    from lineside_workers.watching import side_by_side  # noqa: PLC0415 - each command imports what it needs

    versions = _versions(args)
    folder = versions.folder(args.version)
    model = versions.store.load(folder)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    rollout = versions.rollout()
    say(f"{model.name} {model.version}: {rollout.stage_of(model.version).value}, made {manifest['created']}")
    for name in ("lineside", "code_sha256", "data_sha256"):
        say(f"{name}: {manifest[name]}")
    say(f"answers: {model.config.get('question', '')}; winner: {model.config.get('winner', '')}")
    say(table(json.loads((folder / REPORT).read_text(encoding="utf-8"))))
    if beside := promotion.seen(versions, model.version):
        say(f"beside the version in full, since it is in {rollout.stage_of(model.version).value}:")
        say(table(side_by_side.rows(beside, model.version, rollout.full or "none")))
    steps = [s for s in rollout.history if s.version == model.version]
    say(table([{"at": s.at, "action": s.action, "stage": s.stage, "by": s.by, "cause": s.cause} for s in steps]))


def _promote(args: argparse.Namespace) -> None:
    from lineside_workers.models import promotion  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.models.versions import Stage  # noqa: PLC0415

    versions = _versions(args)
    if not args.skip_stages:
        promotion.check_seen(versions, versions.folder(args.version).name)
    equipment = tuple(e.strip() for e in args.equipment.split(",") if e.strip())
    rollout = versions.promote(
        args.version, Stage(args.to), equipment=equipment, skip=args.skip_stages, max_drift=args.max_drift
    )
    promotion.forget(versions, args.version)
    where = f" for {', '.join(rollout.equipment)}" if args.to == "canary" else ""
    say(f"{versions.task} {args.version} is in {args.to}{where}; workers follow before their next batch")


def _rollback(args: argparse.Namespace) -> None:
    versions = _versions(args)
    out, answers = versions.rollback(args.cause, version=args.version)
    say(f"{versions.task} {out} was taken back; {answers or 'what ships with the task'} answers")


def _compare(args: argparse.Namespace) -> None:
    from lineside_workers.hosting import replay  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.recorded import reading  # noqa: PLC0415
    from lineside_workers.reports import comparison as page  # noqa: PLC0415
    from lineside_workers.training import table  # noqa: PLC0415
    from lineside_workers.watching import side_by_side  # noqa: PLC0415 - each command imports what it needs

    versions = _versions(args)
    one, other = (_as_trained(versions, v) for v in (args.one, args.other))
    found = replay.compare(reading.read(args.recording, say), one, other, args.day)
    say(table(side_by_side.rows(found.pairs, args.one, args.other)))
    differences = found.differences
    shown = differences if args.all else differences[:SHOWN]
    say(f"{len(differences)} windows differ" + (":" if shown else ""))
    if shown:
        say(table([{"equipment": d.equipment_id, "end": d.end, args.one: str(d.one), args.other: str(d.other)}
                   for d in shown]))  # fmt: skip
    if len(shown) < len(differences):
        say(f"and {len(differences) - len(shown)} more; --all lists them")
    if args.html:
        say(f"page: {page.write(args.html, found, versions.task, args.one, args.other)}")


def _as_trained(versions: Versions, name: str) -> Runner:
    """The version, loaded, with the configuration it was trained for: head, tags, grid."""
    from lineside_workers.hosting import as_trained  # noqa: PLC0415 - as above
    from lineside_workers.hosting.runner import Runner  # noqa: PLC0415

    folder = versions.folder(name)
    config = as_trained.configuration(versions.store.load(folder))
    runner = Runner(versions.task, config, folder, "cpu", store=versions.store)
    runner.load()
    return runner
