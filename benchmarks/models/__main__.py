"""``make bench-models``: train, evaluate once, print every row; the last line is JSON."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from benchmarks.models.row import Row, print_table
from benchmarks.models.setting import Setting
from lineside_workers.errors import DatasetError
from lineside_workers.learning.datasets import folder

# Each is a module beside this one with ``run(setting)``, imported when asked for: torch alone takes seconds to import.
DATASETS = ("ai4i", "skab", "cwru", "steel", "tep", "cmapss", "few_labels", "edge", "deletion")


def main() -> int:
    """Run the chosen data sets in order; exit 2 where their data is missing."""
    options = _options()
    try:
        data = folder.root()
    except DatasetError as error:
        print(error, file=sys.stderr)
        return 2
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - started:6.0f} s] {line}", file=sys.stderr, flush=True)

    setting = Setting(data, options.cache, 1 if options.quick else options.seeds, options.quick, options.validate, say)
    rows: list[Row] = []
    for name in options.only:
        say(f"{name}: {setting.seeds} seeds")
        before = time.monotonic()
        try:
            rows += importlib.import_module(f"benchmarks.models.{name}").run(setting)
        except DatasetError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        say(f"{name}: done in {time.monotonic() - before:.0f} s")
    print_table(rows, print)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-models",
        description="Train and evaluate the library's models on public data, beside trees and published figures.",
        epilog='example: make bench-models ARGS="--only cmapss,ai4i --seeds 5"',
    )
    parser.add_argument("--only", type=_names, default=list(DATASETS), metavar="A,B", help=f"of {', '.join(DATASETS)}")
    parser.add_argument("--seeds", type=_positive, default=5, help="runs per figure (default 5)")
    parser.add_argument("--quick", action="store_true", help="one seed and smaller models; figures are rougher")
    parser.add_argument("--validate", action="store_true", help="score validation units; open no test set")
    parser.add_argument("--cache", type=Path, default=Path("var/bench-models"), help="folder for feature tables")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in DATASETS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"no data set '{', '.join(unknown)}'; choose of {', '.join(DATASETS)}")
    return names


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"seeds is '{text}'; expected a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
