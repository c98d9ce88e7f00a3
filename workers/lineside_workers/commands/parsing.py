"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_workers.errors import SettingsError

Commands = Any  # argparse's _SubParsersAction has no public name
Run = Callable[[argparse.Namespace], int | None]


def command(commands: Commands, name: str, about: str, run: Run, examples: Sequence[str], prog: str = "") -> Any:
    """A parser below ``commands`` that is called ``lineside name`` and shows ``examples``."""
    parser = commands.add_parser(
        name,
        prog=prog or f"lineside {name}",
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {e}" for e in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_recording(parser: argparse.ArgumentParser) -> None:
    """The folder of Parquet files."""
    parser.add_argument("recording", type=Path, help="folder of a recording, or of one folder per plant")


def add_learning(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Seed, device or devices, and threads."""
    parser.add_argument("--seed", type=int, default=0, help="of the split and the initial weights [0]")
    if several:
        parser.add_argument("--devices", "--device", default="auto", help="one process on each: auto (every CUDA "
                            "device, else the CPU), cpu, cuda:0,1, or cpu,cpu [auto]")  # fmt: skip
    else:
        parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N [auto]")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch [1]")


def add_window(parser: argparse.ArgumentParser) -> None:
    """Tags and window of the condition task."""
    default = ConditionConfig()
    text = ", ".join(_word(t, u) for t, u in default.tags.items())
    parser.add_argument("--tags", help=f"tags with units, by commas; pretrain: 'all', each machine "
                        f"those it has [{text}]")  # fmt: skip
    parser.add_argument("--length", type=int, default=default.length, help=f"cells of a window [{default.length}]")
    parser.add_argument("--period", type=float, default=default.period_s, help=f"a cell, s [{default.period_s:g}]")


def window_config(args: argparse.Namespace) -> ConditionConfig:
    """The condition task's configuration that the options ask for.

    Raises:
        SettingsError: --tags is not of the form "Tag [unit], Tag".
    """
    tags = tags_of(args.tags) if args.tags else ConditionConfig().tags
    return ConditionConfig(tags=tags, length=args.length, period_s=args.period)


def window_options(config: ConditionConfig) -> list[str]:
    """The options that ask for the tags and window of ``config``."""
    tags = ", ".join(_word(t, u) for t, u in config.tags.items())
    return [f"--tags={tags}", f"--length={config.length}", f"--period={config.period_s}"]


def tags_of(text: str) -> dict[str, str]:
    """Tag -> unit of ``VibRms [mm/s], VibKurtosis``.

    Raises:
        SettingsError: An entry has no name or no closing bracket.
    """
    out = {}
    for entry in text.split(","):
        name, bracket, unit = entry.strip().partition("[")
        if not name.strip() or (bracket and not unit.endswith("]")):
            raise SettingsError(f"--tags has '{entry.strip()}'; write Tag or Tag [unit], with commas between them")
        out[name.strip()] = unit.rstrip("]").strip()
    return out


def say(text: str) -> None:
    """Progress on standard output, at once."""
    print(text, flush=True)


def _word(tag: str, unit: str) -> str:
    return f"{tag} [{unit}]" if unit else tag
