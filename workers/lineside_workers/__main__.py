"""``python -m lineside_workers COMMAND``: serve tasks, and everything from recorded tags to a served model."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from lineside_plugins.registry import TaskError
from lineside_plugins.types import ContractError
from lineside_workers.commands import data, distil, finetune, learn, performance, retrain, rollout
from lineside_workers.commands import signing as signing_commands
from lineside_workers.errors import WorkerError

logger = logging.getLogger(__name__)

EXIT_CANNOT_GO_ON = 2
PER_TASK_LOGGERS = ("celery.worker.strategy", "celery.app.trace")  # two lines a batch at INFO


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 with one sentence on standard error."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        return int(args.run(args) or 0)
    except (WorkerError, TaskError, ContractError) as e:
        print(f"lineside {args.command if args.command != 'serve' else 'worker'}: {e}", file=sys.stderr)
        return EXIT_CANNOT_GO_ON


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lineside_workers", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    serve = commands.add_parser("serve", prog="lineside worker", help="host tasks for the gateways of one broker")
    serve.add_argument("--tasks", help="'all' or names with commas [LINESIDE_TASKS]")
    serve.add_argument("--broker", help="redis://, rediss://, unix:// or sentinel:// URL [LINESIDE_BROKER_URL]")
    serve.add_argument("--device", help="auto, cpu or cuda:N [LINESIDE_DEVICE]")
    serve.add_argument(
        "--devices",
        help="supervised workers on each, started again when they end, hang or fall silent: auto (every CUDA device, "
        "else the CPU), or names with commas; a name may come twice [auto, without --device]",
    )
    serve.add_argument(
        "--urgent",
        default="auto",
        help="tasks that have a process of their own on each of --devices, so that they never wait behind the others: "
        "auto (those with the shortest deadline), none, or names with commas [auto]",
    )
    serve.add_argument("--models", help="models directory that overrides what ships [LINESIDE_MODELS]")
    serve.add_argument("--threads", help="CPU threads of torch [LINESIDE_THREADS]")
    serve.add_argument("--die-with-parent", action="store_true", help="end when the parent process ends (Linux)")
    serve.add_argument("--beat", action="store_true", help=argparse.SUPPRESS)  # for a supervisor
    serve.set_defaults(run=_serve)
    health = commands.add_parser("health", help="exit code 0 when a worker of this host is alive, else 1")
    health.set_defaults(run=_health)
    _add_learning(commands)
    models = commands.add_parser("models", prog="lineside models", help="versions, stages, keys and signatures")
    below = models.add_subparsers(required=True)
    signing_commands.add(below)
    rollout.add(below)
    performance.add(below)
    distil.add(below)
    data.add(commands)
    learn.add(commands)
    finetune.add(commands)
    retrain.add(commands, main)
    return parser


def _add_learning(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser("train", help="train a task from recordings and save the model")
    train.add_argument("task")
    train.add_argument("--recordings", type=Path, required=True, help="folder with one folder per recorded plant")
    train.add_argument("--out", type=Path, help="model folder [the weights that ship with the task]")
    train.add_argument("--seed", type=int, default=0, help="of the split and the initial weights [0]")
    train.add_argument("--version", default="", help="version of the model [hash of its content]")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    train.add_argument("--threads", type=int, default=1, help="CPU threads of torch [1]")
    train.set_defaults(run=_train)
    measure = commands.add_parser(
        "evaluate-model", prog="lineside evaluate-model", help="measure a model on recordings it has not seen"
    )
    measure.add_argument("task")
    measure.add_argument("--recordings", type=Path, required=True, help="folder with one folder per recorded plant")
    measure.add_argument("--model", type=Path, help="model folder [the one in use]")
    measure.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    measure.add_argument("--labels", type=Path, help="for task condition: CSV that 'lineside label' wrote")
    measure.add_argument("--out", type=Path, help="for task condition: page to write [evaluation.html]")
    measure.set_defaults(run=_evaluate)


def _train(args: argparse.Namespace) -> int:
    from lineside_workers.training import TrainingJob, train  # noqa: PLC0415 - each command imports what it needs

    given = {k: v for k, v in vars(args).items() if k not in ("run", "command")}
    train(TrainingJob(**given), _say)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from lineside_workers.training import evaluate  # noqa: PLC0415 - each command imports what it needs

    if args.task == learn.TASK:
        return learn.evaluate(args)

    evaluate(args.task, args.recordings, args.model, args.device, _say)
    return 0


def _health(_args: argparse.Namespace) -> int:
    from lineside_workers.settings import WorkerSettings  # noqa: PLC0415
    from lineside_workers.supervision.health import living  # noqa: PLC0415 - each command imports what it needs

    return 0 if living(WorkerSettings.from_env()) else 1


def _say(text: str) -> None:
    print(text, flush=True)


def _serve(args: argparse.Namespace) -> int:
    from lineside_workers import process  # noqa: PLC0415 - each command imports what it needs

    if args.die_with_parent:
        process.die_with_parent()
    for name in ("tasks", "device", "models", "threads"):
        if getattr(args, name):
            os.environ[f"LINESIDE_{name.upper()}"] = getattr(args, name)
    if args.broker:
        os.environ["LINESIDE_BROKER_URL"] = args.broker
    if args.devices or not (args.device or os.environ.get("LINESIDE_DEVICE")):
        return _supervise(args.devices or "auto", args.urgent)
    os.environ["LINESIDE_BEAT"] = "1" if args.beat else ""
    for name in PER_TASK_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    from lineside_workers.app import app  # noqa: PLC0415 - reads the environment set above

    node = f"lineside-{os.getpid()}@%h"
    app.worker_main(
        ["--quiet", "worker", "--without-mingle", "--without-gossip", "--loglevel", "INFO", "--hostname", node]
    )
    return 0


def _supervise(devices: str, urgent: str) -> int:
    from lineside_workers.hosting import device  # noqa: PLC0415 - each command imports what it needs
    from lineside_workers.settings import WorkerSettings  # noqa: PLC0415
    from lineside_workers.supervision import lanes, supervisor  # noqa: PLC0415 - each command imports what it needs

    settings = WorkerSettings.from_env()
    limits = supervisor.Limits(hung_after_s=settings.redeliver_after_s)
    names, workers = device.several(devices), []
    for i, (name, tasks) in enumerate(itertools.product(names, lanes.lanes(settings.tasks, urgent))):
        port = str(settings.metrics_port + i) if settings.metrics_port else ""
        environment = {**os.environ, "LINESIDE_METRICS_PORT": port, "LINESIDE_TASKS": ",".join(tasks)}
        logger.info("worker_starting device=%s tasks=%s: loads torch and its models", name, ",".join(tasks))
        workers.append(supervisor.Supervised(name, supervisor.command(), environment, limits))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return supervisor.supervise(workers, stop, lambda: _say(json.dumps({"ready": True, "devices": names})))


if __name__ == "__main__":
    raise SystemExit(main())
