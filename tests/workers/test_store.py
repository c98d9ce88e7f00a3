from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lineside_plugins import TrainedModel
from lineside_workers.errors import ModelError
from lineside_workers.models.manifest import CONTENT
from lineside_workers.models.shipped import builtin_folder, code_hash
from lineside_workers.models.signing import KeyRing
from lineside_workers.models.store import ModelStore, Origin


@pytest.fixture
def folder(tmp_path: Path, tiny_model: TrainedModel) -> Path:
    return ModelStore().save(tmp_path / "m", "tiny", "1.0", tiny_model, origin=Origin(data_sha256="ab"))


def test_a_saved_model_reads_back_with_read_only_tensors(folder: Path) -> None:
    """What was saved is what is loaded, and nobody can change its tensors."""
    model = ModelStore().load(folder)
    assert (model.name, model.version, model.config) == ("tiny", "1.0", {"scale": 2.0})
    np.testing.assert_array_equal(model.tensors["scale"], [2.0])
    with pytest.raises(ValueError, match="read-only"):
        model.tensors["scale"][0] = 3.0
    assert json.loads((folder / "manifest.json").read_text())["data_sha256"] == "ab"


@pytest.mark.parametrize("name", CONTENT)
def test_one_changed_byte_in_any_file_is_noticed(folder: Path, name: str) -> None:
    """A flipped bit in any file of the model stops the load with the name of that file."""
    body = bytearray((folder / name).read_bytes())
    body[len(body) // 2] ^= 1
    (folder / name).write_bytes(body)
    with pytest.raises(ModelError, match=rf"{name} was changed.*train the model again"):
        ModelStore().load(folder)


@pytest.mark.parametrize("name", [*CONTENT, "manifest.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    """Each file of the model is needed."""
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        ModelStore().load(folder)


def test_a_file_cut_short_an_extra_file_and_no_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    """Size, set of files and existence are checked before anything is read."""
    (folder / "run.pickle").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"run\.pickle is not in the manifest"):
        ModelStore().load(folder)
    (folder / "run.pickle").unlink()
    tensors = folder / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"has \d+ bytes, its manifest says \d+"):
        ModelStore().load(folder)
    with pytest.raises(ModelError, match="does not exist"):
        ModelStore().load(tmp_path / "nowhere")


def test_a_manifest_cannot_point_outside_its_folder(folder: Path) -> None:
    """File names in a manifest are the known ones only."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../../etc/passwd"] = manifest["files"].pop("report.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "signature.json").write_bytes(KeyRing.from_env().sign((folder / "manifest.json").read_bytes()))
    with pytest.raises(ModelError, match="must name"):
        ModelStore().load(folder)


def test_saving_again_replaces_and_failing_keeps_the_old_model(folder: Path, tiny_model: TrainedModel) -> None:
    """A save is all or nothing and leaves nothing else in the parent folder."""
    with pytest.raises(ModelError, match=r"config.json cannot be saved.*finite"):
        ModelStore().save(folder, "tiny", "2.0", TrainedModel({"x": float("nan")}, tiny_model.tensors, {}))
    with pytest.raises(ModelError, match="tensors cannot be saved"):
        ModelStore().save(folder, "tiny", "2.0", TrainedModel({}, {"x": np.array(["text"])}, {}))
    assert ModelStore().load(folder).version == "1.0"
    ModelStore().save(folder, "tiny", "2.0", tiny_model)
    assert ModelStore().load(folder).version == "2.0"
    assert [p.name for p in folder.parent.iterdir()] == ["m"]


def test_the_same_training_gives_the_same_version(tmp_path: Path, tiny_model: TrainedModel) -> None:
    """Without a version the content names itself."""
    store = ModelStore()
    a, b = (store.load(store.save(tmp_path / n, "tiny", "", tiny_model)).version for n in "ab")
    assert a == b
    assert len(a) == 12


def test_a_models_directory_overrides_what_ships_with_the_task(
    tiny: str, tmp_path: Path, tiny_model: TrainedModel
) -> None:
    """The current version of the models directory wins over the shipped one, and a wrong pointer is explained."""
    store = ModelStore(tmp_path / "models")
    assert store.folder(tiny) == builtin_folder(tiny)
    newer = ModelStore().save(tmp_path / "trained", "tiny", "2.0", tiny_model)
    installed = store.install(tiny, newer)
    assert store.folder(tiny) == installed
    assert store.load(installed).version == "2.0"
    (tmp_path / "models" / "tiny" / "current").write_text("../3.0")
    with pytest.raises(ModelError, match=r"names version '../3.0'; versions there: 2.0"):
        store.folder(tiny)


def test_the_code_hash_follows_the_code(tiny: str, tiny_site: Path) -> None:
    """A changed line of the task's code changes the hash a model is stamped with."""
    before = code_hash(tiny)
    source = tiny_site / "tiny_task" / "task.py"
    source.write_text(source.read_text() + "\n# changed\n")
    assert code_hash(tiny) != before


def test_a_task_without_weights_says_how_to_get_them(tiny: str, tiny_site: Path) -> None:
    """No weights is a sentence with the command that trains them."""
    import shutil

    shutil.rmtree(tiny_site / "tiny_task" / "weights")
    with pytest.raises(ModelError, match=r"ships no weights .*as its README says"):
        builtin_folder(tiny)
    with pytest.raises(ModelError, match="task 'nothere' is not installed"):
        builtin_folder("nothere")
