"""``python -m lineside_workers serve | train TASK | evaluate-model TASK``."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from lineside_plugins.registry import TaskError
from lineside_plugins.types import ContractError
from lineside_workers.errors import WorkerError

EXIT_CANNOT_GO_ON = 2
PER_TASK_LOGGERS = ("celery.worker.strategy", "celery.app.trace")  # two lines a batch at INFO


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 with one sentence on standard error."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        return int(args.run(args) or 0)
    except (WorkerError, TaskError, ContractError) as e:
        print(f"lineside worker: {e}", file=sys.stderr)
        return EXIT_CANNOT_GO_ON


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lineside_workers", description=__doc__)
    commands = parser.add_subparsers(required=True)
    serve = commands.add_parser("serve", help="host tasks for the gateways of one broker")
    serve.add_argument("--tasks", help="'all' or names with commas [LINESIDE_TASKS]")
    serve.add_argument("--broker", help="redis://, rediss:// or unix:// URL [LINESIDE_BROKER_URL]")
    serve.add_argument("--device", help="auto, cpu or cuda:N [LINESIDE_DEVICE]")
    serve.add_argument("--models", help="models directory that overrides what ships [LINESIDE_MODELS]")
    serve.add_argument("--threads", help="CPU threads of torch [LINESIDE_THREADS]")
    serve.add_argument("--die-with-parent", action="store_true", help="end when the parent process ends (Linux)")
    serve.set_defaults(run=_serve)
    return parser


def _serve(args: argparse.Namespace) -> int:
    from lineside_workers import process  # noqa: PLC0415 - each command imports what it needs

    if args.die_with_parent:
        process.die_with_parent()
    for name in ("tasks", "device", "models", "threads"):
        if getattr(args, name):
            os.environ[f"LINESIDE_{name.upper()}"] = getattr(args, name)
    if args.broker:
        os.environ["LINESIDE_BROKER_URL"] = args.broker
    for name in PER_TASK_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    from lineside_workers.app import app  # noqa: PLC0415 - reads the environment set above

    node = f"lineside-{os.getpid()}@%h"
    app.worker_main(
        ["--quiet", "worker", "--without-mingle", "--without-gossip", "--loglevel", "INFO", "--hostname", node]
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
