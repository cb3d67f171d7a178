"""Folders of safetensors: whole and in shards, in any precision, and all that can be wrong with them."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from mim_tf.encoders.checkpoints import TensorFiles, read_json

INDEX = "model.safetensors.index.json"


def write_shards(folder: Path, weight_map: object) -> None:
    """Two shards, and an index that may say something else."""
    save_file({"one": np.full((2, 3), 1, np.float32)}, folder / "model-00001-of-00002.safetensors")
    save_file({"two": np.full(4, 2, np.float32)}, folder / "model-00002-of-00002.safetensors")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")


@pytest.mark.parametrize("precision", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_tensors_of_any_precision_are_read_as_float32(precision: type, tmp_path: Path) -> None:
    values = np.array([[1.5, -2, 0.15625]])  # a few bits each: exact in all of them
    save_file({"tensor": values.astype(precision)}, tmp_path / "model.safetensors")
    files = TensorFiles(tmp_path)
    tensor = files.read("tensor")
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor, values)
    assert files.shape("tensor") == (1, 3)


def test_a_matrix_is_read_as_it_was_written(tmp_path: Path) -> None:
    tensors = {"b": np.random.normal(size=(3, 5)).astype(np.float32), "a.weight": np.zeros((0, 2), np.float32)}
    save_file(tensors, tmp_path / "model.safetensors")
    files = TensorFiles(tmp_path)
    assert sorted(files) == ["a.weight", "b"]
    np.testing.assert_array_equal(files.read("b"), tensors["b"])
    assert files.read("a.weight").shape == (0, 2)


def test_shards_are_one_folder(tmp_path: Path) -> None:
    write_shards(tmp_path, {"one": "model-00001-of-00002.safetensors", "two": "model-00002-of-00002.safetensors"})
    files = TensorFiles(tmp_path)
    assert sorted(files) == ["one", "two"]
    np.testing.assert_array_equal(files.read("two"), [2, 2, 2, 2])


def test_the_norms_of_the_oldest_checkpoints_have_their_modern_names(tmp_path: Path) -> None:
    save_file(
        {"LayerNorm.gamma": np.ones(2, np.float32), "x.LayerNorm.beta": np.zeros(3, np.float32)},
        tmp_path / "model.safetensors",
    )
    files = TensorFiles(tmp_path)
    assert sorted(files) == ["LayerNorm.weight", "x.LayerNorm.bias"]
    np.testing.assert_array_equal(files.read("LayerNorm.weight"), [1, 1])
    assert files.shape("x.LayerNorm.bias") == (3,)


def test_a_missing_shard_is_told(tmp_path: Path) -> None:
    write_shards(tmp_path, {"one": "model-00001-of-00002.safetensors", "three": "model-00003-of-00003.safetensors"})
    with pytest.raises(FileNotFoundError, match=r"all shards of .*Missing: model-00003-of-00003\.safetensors\."):
        TensorFiles(tmp_path)


def test_an_index_without_shards_is_told(tmp_path: Path) -> None:
    write_shards(tmp_path, {})
    with pytest.raises(FileNotFoundError, match=r"all shards of .*Missing: all\."):
        TensorFiles(tmp_path)


@pytest.mark.parametrize("way", ["..", "{outside}", "deeper"])
def test_an_index_does_not_lead_out_of_its_folder(way: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    (folder / "deeper").mkdir(parents=True)
    for secret in (tmp_path, folder / "deeper"):
        save_file({"secret": np.zeros(1, np.float32)}, secret / "secret.safetensors")
    write_shards(folder, {"secret": way.format(outside=tmp_path) + "/secret.safetensors"})
    with pytest.raises(ValueError, match=r"index\.json must name files beside it\. Received: .*secret\.safetensors"):
        TensorFiles(folder)


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_a_truncated_file_is_told(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"tensor": np.ones((8, 8), np.float32)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model\.safetensors is no whole safetensors file .*Copy it again"):
        TensorFiles(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth"])
def test_pickles_are_not_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    message = rf"must hold model\.safetensors.*{name} may run code when read: save them as safetensors"
    with pytest.raises(FileNotFoundError, match=message):
        TensorFiles(tmp_path)


def test_an_empty_folder_is_told_what_it_must_hold(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must hold model\.safetensors, or .*index\.json and its shards\.$"):
        TensorFiles(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1', r"config\.json is not valid JSON: "),
        (b"\xff\xfe", r"config\.json is not valid JSON: "),
        (b"[1, 2]", r"config\.json must hold a JSON object\. Received: list\."),
    ],
)
def test_a_file_that_is_no_json_object_is_told(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "config.json")
