"""Constants, graph, variables and files of a SavedModel: how large, and whether all there."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.export.gate.saved_graph import SavedGraph
from mim_tf.export.gate.sizes import Sizes, misplaced
from tests.export.gate.toy_models import save_function

KIB = 2**10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of a variable with 3,000 float32."""
    module = tf.Module()
    module.weights = tf.Variable(np.random.default_rng(0).normal(size=3000).astype(np.float32))
    weigh = tf.function(lambda x: {"y": x * module.weights}).get_concrete_function(tf.TensorSpec([], tf.float32, "x"))
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=weigh)
    return tmp_path / "model"


def problems(folder: Path, largest_constant: int = 8 * KIB, largest_graph: int = 2**20) -> list[str]:
    graph = SavedGraph.read(folder)
    return misplaced(folder, graph, largest_constant=largest_constant, largest_graph=largest_graph)


def test_a_whole_model_of_small_constants_is_right(folder: Path) -> None:
    assert problems(folder) == []


def test_sizes_are_those_on_disk(folder: Path) -> None:
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "provenance.json").write_bytes(b"12345")
    (folder / "assets" / "words").write_bytes(b"123")
    sizes = Sizes.of(folder, SavedGraph.read(folder))
    assert (sizes.graph, sizes.assets) == ((folder / "saved_model.pb").stat().st_size, 8)
    assert 12_000 <= sizes.variables < 14_000  # the numbers, and an index
    assert sizes.nodes == sum(1 for _ in SavedGraph.read(folder).nodes()) > 5
    assert problems(folder) == []


def test_a_large_constant_is_named(tmp_path: Path) -> None:
    large = np.random.default_rng(0).normal(size=3000).astype(np.float32)  # 12,000 bytes
    save_function(tmp_path / "model", lambda x: {"y": x * large}, x=tf.TensorSpec([], tf.float32))
    (problem,) = problems(tmp_path / "model")
    pattern = r"node \S+( of function \S+)? \(Const\) has (\d+) bytes, more than 8192"
    found = re.fullmatch(pattern, problem)
    assert found is not None, problem
    assert 12_000 <= int(found[2]) < 12_200
    assert problems(tmp_path / "model", largest_constant=16 * KIB) == []


def test_a_large_graph_is_refused(folder: Path) -> None:
    size = (folder / "saved_model.pb").stat().st_size
    assert problems(folder, largest_graph=size - 1) == [f"saved_model.pb has {size} bytes, more than {size - 1}"]
    assert problems(folder, largest_graph=size) == []


def test_missing_variables_are_noticed(folder: Path) -> None:
    data = folder / "variables" / "variables.data-00000-of-00001"
    kept = data.read_bytes()
    data.write_bytes(kept[:11_999])
    assert problems(folder) == ["variables/ must hold at least 12000 bytes of data. Received: 11999"]
    data.rename(data.with_name("variables.data-00000-of-00002"))
    found = "variables.data-00000-of-00002"
    assert problems(folder) == [f"variables/ must hold the data files 0 to n - 1 of n. Received: {found}"]
    (folder / "variables" / found).unlink()
    assert problems(folder) == ["variables/ must hold the data files 0 to n - 1 of n. Received: none"]
    (folder / "variables" / "variables.index").unlink()
    assert problems(folder) == ["variables/variables.index is missing"]
    (folder / "variables").rmdir()
    assert problems(folder) == ["variables/variables.index is missing"]


def test_files_elsewhere_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").touch()
    (folder / "variables.old").mkdir()
    (tmp_path / "words").touch()
    os.symlink(tmp_path / "words", folder / "assets" / "words")
    assert problems(folder) == [
        "notes.txt is no part of a SavedModel",
        "variables.old is no part of a SavedModel",
        f"assets/words is a link to {tmp_path / 'words'}",
    ]


def test_a_file_outside_that_the_graph_reads_is_named(tmp_path: Path) -> None:
    """An asset is copied; what an op reads by its path is not."""
    words = tmp_path / "words.txt"
    words.write_text("red\nmug\n")
    rows, lines = tf.lookup.TextFileIndex.LINE_NUMBER, tf.lookup.TextFileIndex.WHOLE_LINE
    module = tf.Module()
    initializer = tf.lookup.TextFileInitializer(str(words), tf.string, lines, tf.int64, rows)
    module.table = tf.lookup.StaticVocabularyTable(initializer, 1)
    spec = tf.TensorSpec([None], tf.string, "word")
    find = tf.function(lambda word: {"row": module.table.lookup(word)}).get_concrete_function(spec)
    tf.saved_model.save(module, str(tmp_path / "asset"), signatures=find)
    assert problems(tmp_path / "asset") == []

    spec = tf.TensorSpec([], tf.string)
    read = save_function(
        tmp_path / "path", lambda slash: {"all": "/" + slash + tf.io.read_file(str(words))}, slash=spec
    )
    (problem,) = problems(read)
    assert re.fullmatch(rf"node \S+ of function \S+ names {words}, a file outside of the model", problem)


def test_variables_are_not_read(folder: Path) -> None:
    """A terabyte of them takes no time; on disk it is a hole."""
    data = folder / "variables" / "variables.data-00000-of-00001"
    os.truncate(data, 2**40)
    assert problems(folder) == []
    assert Sizes.of(folder, SavedGraph.read(folder)).variables >= 2**40
