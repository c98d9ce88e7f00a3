"""``make bench-models``: train, evaluate once, print every row; the last line is JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

from benchmarks.models.kept import Finished, Kept
from benchmarks.models.row import print_table
from benchmarks.models.setting import Setting
from lineside_workers.errors import DatasetError, DeviceError
from lineside_workers.hosting import device
from lineside_workers.learning.datasets import folder

# Each is a module beside this one with ``run(setting)``, imported when asked for: torch alone takes seconds to import.
DATASETS = ("ai4i", "skab", "cwru", "steel", "tep", "cmapss", "few_labels", "edge", "deletion")
_PLACES = 6  # decimals of a figure in the report


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

    seeds = 1 if options.quick else options.seeds
    try:
        place = device.choose(options.device)
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 2
    setting = Setting(data, options.cache, seeds, options.quick, options.validate, say, place)
    kind = "validate" if options.validate else "test"
    kept = Kept(options.cache, f"{kind}-{'quick' if options.quick else setting.seeds}")
    done: dict[str, Finished] = {}
    for at, name in enumerate(options.only, 1):
        say(f"{name}: {at} of {len(options.only)}, {setting.seeds} seeds")
        try:
            done[name] = _finished(name, setting, kept, fresh=options.fresh)
        except DatasetError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        if options.record:
            _record(options.record, name, done[name])
    print_table([row for finished in done.values() for row in finished.rows], print)
    return 0


def _finished(name: str, setting: Setting, kept: Kept, *, fresh: bool) -> Finished:
    """The rows of one data set, from disk where they are there."""
    found = kept.read(name)
    if found is not None and not fresh:
        setting.say(f"{name}: as measured before, in {found.seconds:.0f} s (--fresh measures again)")
        return found
    before = time.monotonic()
    rows = importlib.import_module(f"benchmarks.models.{name}").run(setting)
    finished = Finished(tuple(rows), time.monotonic() - before)
    kept.write(name, finished)
    setting.say(f"{name}: done in {finished.seconds:.0f} s")
    return finished


def _record(path: Path, name: str, finished: Finished) -> None:
    """Put the rows of ``name`` into the report at ``path``, in the order of ``DATASETS``; other sets' rows stay."""
    report = json.loads(path.read_text()) if path.is_file() else {}
    rows = [row.cells() for row in finished.rows]
    plain = [{k: round(v, _PLACES) if isinstance(v, float) else v for k, v in cells.items()} for cells in rows]
    report[name] = {"seconds": round(finished.seconds), "rows": plain}
    ordered = {known: report[known] for known in DATASETS if known in report}
    path.write_text(json.dumps(ordered, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-models",
        description="Train and evaluate the library's models on public data, beside trees and published figures. "
        "Rows that are finished are kept, so a run that was broken off goes on where it stopped.",
        epilog='example: make bench-models ARGS="--only cmapss,ai4i --seeds 5"',
    )
    parser.add_argument("--only", type=_names, default=list(DATASETS), metavar="A,B", help=f"of {', '.join(DATASETS)}")
    parser.add_argument("--seeds", type=_positive, default=5, help="runs per figure (default 5)")
    parser.add_argument("--quick", action="store_true", help="one seed and smaller models; figures are rougher")
    parser.add_argument("--validate", action="store_true", help="score validation units; open no test set")
    parser.add_argument("--device", default="auto", help="where networks train: auto, cpu or cuda:N")
    parser.add_argument("--fresh", action="store_true", help="measure again what is kept from an earlier run")
    parser.add_argument("--cache", type=Path, default=Path("var/bench-models"), help="folder for tables, models, rows")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="put the rows into this report, e.g. docs/models.json"
    )
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
