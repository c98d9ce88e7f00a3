"""``models``: versions, their stages, and who made them; the work is done by the workers' own command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lineside_gateway import processes
from lineside_gateway.cli import panels
from lineside_gateway.cli.extras import require


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    models = typer.Typer(help="Models: versions and their stages, keys and signatures.", no_args_is_help=True)
    models.command()(keygen)
    models.command()(sign)
    models.command()(verify)
    models.command()(trust)
    models.command()(keys)
    models.command(name="list")(list_versions)
    for command in (show, promote, rollback, compare, performance, distil):
        models.command()(command)
    app.add_typer(models, name="models", rich_help_panel=panels.LEARN)


def keygen(
    out: Annotated[
        Path | None, typer.Option(help="File for the private key. Default: the key of this machine, trusted here.")
    ] = None,
) -> None:
    """Make a key that signs models; training makes the one of this machine by itself.

    [bold]Examples[/]

      lineside models keygen

      lineside models keygen --out plant-7.pem
    """
    run_models("keygen", *(["--out", str(out)] if out else []))


def sign(
    folder: Annotated[Path, typer.Argument(help="Model folder.")],
    key: Annotated[Path | None, typer.Option(help="File of the private key. Default: the key of this machine.")] = None,
) -> None:
    """Sign a model whose files are as its manifest says: you vouch for it.

    [bold]Example[/]

      lineside models sign var/models/reject --key plant-7.pem
    """
    run_models("sign", str(folder), *(["--key", str(key)] if key else []))


def verify(model: Annotated[str, typer.Argument(help="Model folder, or a task for the model in use.")]) -> None:
    """Check the files of a model and who signed it. Exit code 2 where a worker would not load it.

    [bold]Examples[/]

      lineside models verify maintenance

      lineside models verify var/models/reject
    """
    run_models("verify", model)


def trust(
    file: Annotated[Path, typer.Argument(help="Public key of who signs, PEM.")],
    name: Annotated[str, typer.Option(help="Name to keep it under. Default: the name of the file.")] = "",
) -> None:
    """Let workers of this machine load models that the owner of a public key has signed.

    [bold]Example[/]

      lineside models trust plant-7.pub.pem --name plant-7
    """
    run_models("trust", str(file), *(["--name", name] if name else []))


def keys() -> None:
    """List the keys whose models workers of this machine load.

    Example: lineside models keys
    """
    run_models("keys")


_Models = Annotated[Path | None, typer.Option("--models", help="Models directory. Default: LINESIDE_MODELS.")]
_Task = Annotated[str, typer.Option(help="Task; may be left out where one task has versions.")]


def list_versions(
    models: _Models = None, task: Annotated[str, typer.Option(help="Only versions of this task.")] = ""
) -> None:
    """List versions and their stages: candidate, shadow, canary (with its equipment), full.

    Example: lineside models list --models var/models
    """
    run_models("list", *_given(models, task))


def show(version: Annotated[str, typer.Argument(help="Version.")], models: _Models = None, task: _Task = "") -> None:
    """Show where a version comes from, how every candidate measured, and what was done with it.

    In shadow and canary also how it compares with the version in full on the windows of running workers.

    Example: lineside models show 56f4063649da
    """
    run_models("show", version, *_given(models, task))


def promote(
    version: Annotated[str, typer.Argument(help="Version.")],
    to: Annotated[str, typer.Option(help="shadow: recorded only. canary: answers for --equipment. full: for all.")],
    equipment: Annotated[str, typer.Option(help="equipment_ids of the canary, by commas.")] = "",
    max_drift: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="How far it may flag or abstain otherwise than full. Default: 0.3."),
    ] = None,
    skip_stages: Annotated[
        bool, typer.Option("--skip-stages", help="Leave out stages, or what they would show.")
    ] = False,
    models: _Models = None,
    task: _Task = "",
) -> None:
    """Move a version one stage up. Running workers follow before their next batch.

    A version in shadow or canary is taken back by itself when it errs, is slow, or drifts from the one in full.

    [bold]Examples[/]

      lineside models promote 56f4063649da --to shadow

      lineside models promote 56f4063649da --to canary --equipment A1

      lineside models promote 56f4063649da --to full
    """
    chosen = [*(["--equipment", equipment] if equipment else []), *(["--skip-stages"] if skip_stages else [])]
    chosen += [] if max_drift is None else ["--max-drift", str(max_drift)]
    run_models("promote", version, "--to", to, *chosen, *_given(models, task))


def rollback(
    version: Annotated[str, typer.Option(help="Which. Default: the canary, else the newest shadow, else full.")] = "",
    cause: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    models: _Models = None,
    task: _Task = "",
) -> None:
    """Take a version back; from full to the version that was there before.

    Example: lineside models rollback --cause "too many alarms on B1"
    """
    chosen = [*(["--version", version] if version else []), *(["--cause", cause] if cause else [])]
    run_models("rollback", *chosen, *_given(models, task))


def compare(
    one: Annotated[str, typer.Argument(help="Version.")],
    other: Annotated[str, typer.Argument(help="Version.")],
    recording: Annotated[Path, typer.Option(help="Folder of a recording.")],
    day: Annotated[str, typer.Option(help="Only windows that end on this day, such as 2026-01-10.")] = "",
    every: Annotated[bool, typer.Option("--all", help="List every difference.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page too, with both over time.")] = None,
    models: _Models = None,
    task: _Task = "",
) -> None:
    """Replay a recorded day through two versions and list where they differ, before a promotion.

    Each is given the tags, head and grid that it was trained for.

    [bold]Examples[/]

      lineside models compare 56f4063649da 9a1b33c0ffee --recording var/recorded --day 2026-01-10

      lineside models compare 56f4063649da 9a1b33c0ffee --recording var/recorded --html var/compared.html
    """  # fmt: skip
    chosen = [*(["--day", day] if day else []), *(["--all"] if every else []), *(["--html", str(html)] if html else [])]
    run_models("compare", one, other, "--recording", str(recording), *chosen, *_given(models, task))


def performance(
    recording: Annotated[Path, typer.Argument(help="Folder that a gateway records to.")],
    labels: Annotated[Path, typer.Option(help="Labels as 'lineside label' writes them.")],
    prometheus: Annotated[
        Path | None, typer.Option(help="Also write gauges to this file, for a textfile collector.")
    ] = None,
) -> None:
    """Measure what each version was worth, now that labels are there: precision, recall and error per machine.

    Example: lineside models performance var/recorded --labels var/labels.csv --prometheus /var/lib/node/lineside.prom
    """
    chosen = ["--prometheus", str(prometheus)] if prometheus else []
    run_models("performance", str(recording), "--labels", str(labels), *chosen)


def distil(
    version: Annotated[str, typer.Argument(help="Version.")],
    recording: Annotated[Path, typer.Argument(help="Folder of the recording that it was trained with.")],
    models: Annotated[Path, typer.Option(help="Models directory.")],
    labels: Annotated[Path | None, typer.Option(help="Labels: tells the error of both.")] = None,
    hidden: Annotated[str, typer.Option(help="Units of each layer, by commas.")] = "64,32",
    float32: Annotated[bool, typer.Option("--float32", help="Leave the weights whole.")] = False,
    name: Annotated[str, typer.Option(help="Name of the new version. Default: the hash of its content.")] = "",
) -> None:
    """Make a small version of a model for a box without torch: one network in int8, served by ONNX Runtime.

    It says what the version says, whose windows teach it without labels; a table tells size, speed and loss.

    [bold]Examples[/]

      lineside models distil 56f4063649da var/recorded --models var/models

      lineside models distil 56f4063649da var/recorded --labels var/labels.csv --models var/models
    """
    chosen = [*(["--labels", str(labels)] if labels else []), *(["--float32"] if float32 else [])]
    chosen += ["--version", name] if name else []
    run_models("distil", version, str(recording), "--models", str(models), "--hidden", hidden, *chosen)


def _given(models: Path | None, task: str) -> list[str]:
    return [*(["--models", str(models)] if models else []), *(["--task", task] if task else [])]


def run_models(*args: str) -> None:
    """Run ``python -m lineside_workers models ...`` in this terminal, and end with its exit code."""
    require("workers")
    code = processes.replace("lineside_workers", ["models", *args])
    if code:
        raise typer.Exit(code)
