"""From recorded tags to a served model: ``record``, ``data``, ``label``, ``pretrain``, ``finetune``.

Their options are those of the programs that do the work; ``--help`` behind each shows them.
"""

from __future__ import annotations

import typer

from lineside_gateway import processes
from lineside_gateway.cli import panels
from lineside_gateway.cli.extras import require

_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (record, data, label, pretrain, finetune, retrain):
        app.command(context_settings=_PASS_THROUGH, rich_help_panel=panels.LEARN)(command)
    app.command(name="evaluate-model", context_settings=_PASS_THROUGH, rich_help_panel=panels.LEARN)(evaluate_model)


def record(context: typer.Context) -> None:
    """Record a simulated plant with the gateway's own recorder, in lock-step. A gateway records with recording.folder.

    [dim]lineside record --help[/] lists the options.

    [bold]Examples[/]

      lineside record --plants 6 --hours 168 --out var/recorded

      lineside record --hours 48 --after 168 --drift A1:VibRms --append --out var/recorded/plant-1
    """
    require("trials")
    _run("lineside_trials.record", context.args)


def data(context: typer.Context) -> None:
    """Look at recordings before learning from them: gaps, frozen and drifting sensors, units, outliers, leakage.

    Writes a page with plots; exit code 1 where something makes what follows wrong. [dim]lineside data report --help[/]
    lists the options.

    [bold]Example[/]

      lineside data report var/recorded --out var/quality.html
    """
    _work("data", context)


def label(context: typer.Context) -> None:
    """Say what followed: from events, from operators' Accept and Reject, or from a CSV; by machine and time.

    [dim]lineside label --help[/] lists the options.

    [bold]Example[/]

      lineside label var/recorded --kind failure --horizon-h 24 --delay-h 1 --out var/labels.csv
    """
    _work("label", context)


def pretrain(context: typer.Context) -> None:
    """Train an encoder on unlabelled recordings; the same command goes on where it was interrupted.

    [dim]lineside pretrain --help[/] lists the options.

    [bold]Example[/]

      lineside pretrain var/recorded --out var/encoder

      lineside pretrain var/recorded --devices cuda:0,1 --pairs 4096 --out var/encoder
    """
    _work("pretrain", context)


def finetune(context: typer.Context) -> None:
    """Train heads on the encoder, trees and the naive rule; the best on validation units is kept, signed.

    [dim]lineside finetune --help[/] lists the options.

    [bold]Example[/]

      lineside finetune var/recorded --encoder var/encoder --labels var/labels.csv --models var/models

      lineside finetune var/recorded --encoder var/encoder --models var/models --head forecasting --forecast SpindleTemp
    """
    _work("finetune", context)


def retrain(context: typer.Context) -> None:
    """Label, pretrain, fine-tune and promote to shadow in one go: always, on drift, or on enough new events.

    For a timer of the operating system; the new version is only recorded until somebody promotes it.
    [dim]lineside retrain --help[/] lists the options.

    [bold]Example[/]

      lineside retrain var/recorded --models var/models --work var/retraining --when drift
    """
    _work("retrain", context)


def evaluate_model(context: typer.Context) -> None:
    """Measure a model on units that neither trained nor chose it: figures with intervals, lead times, cost, a page.

    [dim]lineside evaluate-model --help[/] lists the options.

    [bold]Example[/]

      lineside evaluate-model condition --recordings rec --labels labels.csv --model models/condition/week-1
    """
    _work("evaluate-model", context)


def _work(command: str, context: typer.Context) -> None:
    require("workers")
    _run("lineside_workers", [command, *context.args])


def _run(module: str, args: list[str]) -> None:
    code = processes.replace(module, args)
    if code:
        raise typer.Exit(code)
