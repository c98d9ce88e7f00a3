"""Versions of a model: stages one by one, history, rollback, and what several processes see."""

from __future__ import annotations

from pathlib import Path

import pytest

from lineside_plugins import TrainedModel
from lineside_workers.__main__ import main
from lineside_workers.errors import ModelError, RolloutError
from lineside_workers.models.store import ModelStore, Origin
from lineside_workers.models.versions import Stage, Versions


@pytest.fixture
def versions(tmp_path: Path, tiny_model: TrainedModel) -> Versions:
    """Three candidates of the tiny task."""
    made = Versions(ModelStore(tmp_path / "models"), "tiny")
    for name in ("v1", "v2", "v3"):
        assert made.add(tiny_model, name, Origin()) == name
    return made


def test_a_version_goes_up_stage_by_stage(versions: Versions) -> None:
    """Candidate, shadow, canary on its equipment, full; the history tells who did what."""
    versions.promote("v1", Stage.FULL)
    with pytest.raises(RolloutError, match="promote it to shadow first"):
        versions.promote("v2", Stage.CANARY, equipment=("A1",))
    versions.promote("v2", Stage.SHADOW)
    with pytest.raises(RolloutError, match="give --equipment"):
        versions.promote("v2", Stage.CANARY)
    rollout = versions.promote("v2", Stage.CANARY, equipment=("A1",), by="anna")
    assert (rollout.full, rollout.canary, rollout.equipment, rollout.shadow) == ("v1", "v2", ("A1",), ())
    rollout = versions.promote("v2", Stage.FULL)
    assert (rollout.full, rollout.canary) == ("v2", "")
    assert versions.store.folder("tiny").name == "v2"
    assert [(s.action, s.version, s.stage) for s in rollout.history[3:]] == [
        ("promoted", "v1", "full"), ("promoted", "v2", "shadow"),
        ("promoted", "v2", "canary"), ("promoted", "v2", "full"),
    ]  # fmt: skip
    assert rollout.history[5].by == "anna"


def test_rollback_goes_the_same_way_down(versions: Versions) -> None:
    """The canary goes first, then the shadow, then full returns to the version before, never to one taken back."""
    versions.promote("v1", Stage.FULL)
    versions.promote("v2", Stage.FULL, skip=True)
    versions.promote("v3", Stage.SHADOW)
    versions.promote("v1", Stage.CANARY, equipment=("A1",), skip=True)
    assert versions.rollback("noisy") == ("v1", "v2")
    assert versions.rollback("noisy") == ("v3", "v2")
    assert versions.rollback("worse") == ("v2", "v1")
    with pytest.raises(RolloutError, match="the only version that was ever in full"):
        versions.rollback("again")


def test_a_tampered_version_is_not_promoted(versions: Versions) -> None:
    """A manifest or a file that was changed after signing stays where it is."""
    manifest = versions.folder("v2") / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"v2"', '"v9"'))
    with pytest.raises(ModelError, match="was changed after key"):
        versions.promote("v2", Stage.SHADOW)
    assert versions.rollout().stage_of("v2") is Stage.CANDIDATE


def test_commands_say_what_is_there_and_what_is_wrong(versions: Versions, capsys: pytest.CaptureFixture[str]) -> None:
    """list and show tell stages; an unknown version and a missing directory end with code 2 and what there is."""
    root = ["--models", str(versions.store.root)]
    assert main(["models", "promote", "v1", "--to", "full", *root]) == 0
    assert main(["models", "list", *root]) == 0
    assert main(["models", "show", "v1", *root]) == 0
    out = capsys.readouterr().out
    assert "v1       full" in out
    assert "promoted  full" in out
    assert main(["models", "show", "v7", *root]) == 2
    assert "versions there: v1, v2, v3" in capsys.readouterr().err
    assert main(["models", "list", "--models", "/nowhere/models"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_promotion_may_allow_more_drift(versions: Versions) -> None:
    """A version that was trained to say otherwise gets a limit of its own, which workers read."""
    assert versions.promote("v1", Stage.SHADOW).limits.max_drift == 0.3
    assert versions.promote("v2", Stage.SHADOW, max_drift=1.0).limits.max_drift == 1.0
    assert versions.rollout().limits.max_drift == 1.0
