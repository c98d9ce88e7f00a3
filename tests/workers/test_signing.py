from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lineside_plugins import TrainedModel
from lineside_plugins.registry import installed
from lineside_workers.__main__ import main
from lineside_workers.errors import ModelError, SettingsError, SigningError
from lineside_workers.hosting.runner import Runner
from lineside_workers.models.manifest import MANIFEST, SIGNATURE
from lineside_workers.models.shipped import builtin_folder
from lineside_workers.models.signing import PRIVATE, KeyRing, make_private, write_public
from lineside_workers.models.store import ModelStore


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "keys")


@pytest.fixture
def folder(tmp_path: Path, tiny_model: TrainedModel, ring: KeyRing) -> Path:
    return ModelStore(keys=ring).save(tmp_path / "m", "tiny", "1.0", tiny_model)


@pytest.fixture
def elsewhere(tmp_path: Path) -> KeyRing:
    """The keys of another machine."""
    return KeyRing(tmp_path / "elsewhere")


@pytest.mark.parametrize("task", sorted({"compensation", "maintenance", "reject"} & set(installed())))
def test_shipped_models_are_signed_by_the_key_that_ships(task: str, elsewhere: KeyRing) -> None:
    """A machine without any key of its own loads what ships; weights changed in the tree need the project's key."""
    assert ModelStore(keys=elsewhere).verify(builtin_folder(task)).signer == "lineside"
    assert not elsewhere.folder.exists()


def test_the_first_save_makes_a_key_that_only_its_owner_reads(folder: Path, ring: KeyRing) -> None:
    """Saving signs with the key of this machine, made then, trusted here, and loads without more."""
    assert ModelStore(keys=ring).verify(folder).signer == "local"
    assert ModelStore(keys=ring).load(folder).version == "1.0"
    assert os.name == "nt" or (ring.folder / PRIVATE).stat().st_mode & 0o077 == 0
    before = (ring.folder / PRIVATE).read_bytes()
    make_private(ring.folder / PRIVATE)
    assert (ring.folder / PRIVATE).read_bytes() == before, "a key is never written over"


def test_a_model_of_an_unknown_signer_loads_once_he_is_trusted(folder: Path, ring: KeyRing, elsewhere: KeyRing) -> None:
    """Hashes that fit are not enough: the signer is named with the next step, and trusting him is one command."""
    with pytest.raises(SigningError, match=r"signed by key [0-9a-f]{16}, which is not trusted here.*models trust"):
        ModelStore(keys=elsewhere).load(folder)
    elsewhere.trust(ring.folder / "trusted" / "local.pem", "line-7")
    assert ModelStore(keys=elsewhere).verify(folder).signer == "line-7"


def test_an_unsigned_model_is_refused_with_the_command_that_signs_it(folder: Path, ring: KeyRing) -> None:
    """No signature, no load; whoever knows the model signs it."""
    (folder / SIGNATURE).unlink()
    with pytest.raises(SigningError, match=r"is not signed.*lineside models sign"):
        ModelStore(keys=ring).load(folder)
    ModelStore(keys=ring).sign(folder)
    assert ModelStore(keys=ring).load(folder).name == "tiny"


def test_a_forged_manifest_is_refused_even_where_its_hashes_fit(
    folder: Path, ring: KeyRing, tiny_model: TrainedModel, tmp_path: Path, elsewhere: KeyRing
) -> None:
    """Files and manifest of another model below a trusted signature do not pass, required or not."""
    forged = ModelStore(keys=elsewhere).save(tmp_path / "forged", "tiny", "6.6", tiny_model)
    shutil.copy(folder / SIGNATURE, forged / SIGNATURE)
    for required in (True, False):
        with pytest.raises(SigningError, match="was changed after key 'local'"):
            ModelStore(keys=KeyRing(ring.folder, required)).load(forged)


def test_a_changed_file_is_not_signed_again_by_mistake(folder: Path, ring: KeyRing) -> None:
    """Signing vouches for a manifest only where the files are what it says."""
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"config\.json has 2 bytes"):
        ModelStore(keys=ring).sign(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"algorithm":"none","signer":"","signature":""}', "\x00" * 9000])
def test_a_file_that_is_no_signature_is_named(folder: Path, ring: KeyRing, text: str) -> None:
    """Damage in the signature is a sentence with the file."""
    (folder / SIGNATURE).write_text(text)
    with pytest.raises(SigningError, match=r"signature\.json is no signature"):
        ModelStore(keys=ring).load(folder)


def test_where_no_signature_is_required_the_unproven_loads_with_a_warning(
    folder: Path, elsewhere: KeyRing, caplog: pytest.LogCaptureFixture
) -> None:
    """LINESIDE_REQUIRE_SIGNATURE=no lets unknown signers and unsigned models in, and says so."""
    lax = KeyRing.from_env({"LINESIDE_KEYS": str(elsewhere.folder), "LINESIDE_REQUIRE_SIGNATURE": "no"})
    assert ModelStore(keys=lax).verify(folder).signer == ""
    (folder / SIGNATURE).unlink()
    assert ModelStore(keys=lax).load(folder).name == "tiny"
    assert caplog.text.count("model of unproven origin") == 2
    with pytest.raises(SettingsError, match="use yes or no"):
        KeyRing.from_env({"LINESIDE_REQUIRE_SIGNATURE": "perhaps"})


def test_a_worker_refuses_what_nobody_trusted_signed(tiny: str, elsewhere: KeyRing) -> None:
    """The runner of a worker loads no task whose weights have an unknown signer."""
    with pytest.raises(SigningError, match="not trusted here"):
        Runner(tiny, device="cpu", store=ModelStore(keys=elsewhere)).load()


def test_a_signed_model_of_another_task_is_not_taken_for_this_one(
    tiny: str, tmp_path: Path, tiny_model: TrainedModel
) -> None:
    """A valid signature does not let one task's model stand in for another's."""
    other = ModelStore().save(tmp_path / "other", "reject", "1.0", tiny_model)
    with pytest.raises(ModelError, match="holds a model of 'reject', not of 'tiny'"):
        Runner(tiny, model_folder=other, device="cpu").load()


def test_keys_that_cannot_be_used_say_what_to_do(folder: Path, ring: KeyRing, tmp_path: Path) -> None:
    """A file that is no key, a name that is taken and a folder that cannot be made are sentences."""
    with pytest.raises(SigningError, match="holds no public key"):
        ring.trust(folder / MANIFEST)
    make_private(tmp_path / "b.pem")
    write_public(tmp_path / "b.pem", tmp_path / "b.pub.pem")
    with pytest.raises(SigningError, match="another key is trusted as 'local'"):
        ring.trust(tmp_path / "b.pub.pem", "local")
    with pytest.raises(SigningError, match="without slashes"):
        ring.trust(tmp_path / "b.pub.pem", "../local")
    (tmp_path / "file").touch()
    with pytest.raises(SigningError, match="set LINESIDE_KEYS to a folder"):
        KeyRing(tmp_path / "file" / "keys").local()
    with pytest.raises(SigningError, match="holds no private key"):
        ModelStore(keys=ring).sign(folder, folder / MANIFEST)


def test_a_plants_key_travels_by_command_line(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """keygen --out, sign --key, trust and verify carry a model from one machine to another."""
    run: Callable[..., int] = lambda *words: main(["models", *map(str, words)])  # noqa: E731
    monkeypatch.setenv("LINESIDE_KEYS", str(tmp_path / "fresh"))
    assert run("verify", folder) == 2
    assert run("keygen", "--out", tmp_path / "plant-7.pem") == 0
    assert run("keygen", "--out", tmp_path / "plant-7.pem") == 2
    assert run("sign", folder, "--key", tmp_path / "plant-7.pem") == 0
    assert run("verify", folder) == 2
    assert run("trust", tmp_path / "plant-7.pub.pem", "--name", "plant-7") == 0
    assert run("verify", folder) == 0
    assert "tiny 1.0: files as signed, signed by plant-7" in capsys.readouterr().out
    assert run("keygen") == 0
    assert run("keys") == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[-3:]] == ["lineside", "local", "plant-7"]
