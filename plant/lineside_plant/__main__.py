"""``python -m lineside_plant serve | record``: the simulated plant on OPC UA, or recordings of it for training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command of the plant; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["record"]:
        from lineside_plant import recording  # noqa: PLC0415  serving needs no recording code, and the reverse

        return int(recording.main(arguments[1:]) or 0)
    from lineside_plant.servers import serve  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m lineside_plant", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser(
        "serve",
        prog="lineside plant",
        help="run the plant behind six OPC UA servers",
        description="Run the plant behind five PLC servers and a MES server. Prints one JSON line when ready.",
        epilog=serve.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_serve_arguments(serving)
    commands.add_parser("record", help="write recordings for training; see 'record --help'", add_help=False)
    return serve.run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
