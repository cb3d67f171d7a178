"""Every encoder as a SavedModel, in both precisions: bytes and strings go in, embeddings come out."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.encoders.conftest import FAMILIES, PRECISIONS, ROUNDING, make_toy

IN_ANOTHER_PROCESS = """
import sys
for name in ("mim_tf", "keras_nlp", "keras_hub"):  # tensorflow_text itself imports keras
    sys.modules[name] = None  # importing it fails
import pathlib, numpy, tensorflow, tensorflow_text  # the latter for its ops, which stock servers link
folder = pathlib.Path(sys.argv[1])
for model in folder.iterdir():
    raw = numpy.load(model / "raw.npy")
    embed = tensorflow.saved_model.load(model / "model").signatures["serving_default"]
    numpy.save(model / "reloaded.npy", embed(tensorflow.constant(raw))["embedding"])
"""


ALL = list(itertools.product(FAMILIES, PRECISIONS))
TWO = [("vision-vit", "float32"), ("text-bert", "mixed_bfloat16")]


@pytest.mark.parametrize("toys", [TWO, pytest.param(ALL, marks=pytest.mark.slow)], ids=["two", "all"])
def test_bytes_and_strings_go_into_its_saved_model_where_our_code_is_not(
    tmp_path: Path, toys: list[tuple[str, str]]
) -> None:
    expected = {}
    for family, dtype in toys:
        encoder, _, raw = make_toy(family, dtype)
        embed = tf.function(lambda raw, encoder=encoder: {"embedding": encoder.embed(raw)})
        signature = embed.get_concrete_function(tf.TensorSpec([None], tf.string))
        folder = tmp_path / f"{family}-{dtype}"
        tf.saved_model.save(encoder, folder / "model", signatures=signature)
        np.save(folder / "raw.npy", raw.numpy().astype(bytes))
        expected[folder] = signature(raw)["embedding"]
    command = [sys.executable, "-W", "ignore", "-c", IN_ANOTHER_PROCESS, tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    for folder, embeddings in expected.items():
        rounding = ROUNDING[folder.name.rpartition("-")[2]]
        reloaded = np.load(folder / "reloaded.npy")
        np.testing.assert_allclose(reloaded, embeddings, rtol=rounding, atol=rounding, err_msg=folder.name)
