"""The query encoder as a served model, in a process where our code is not."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mim_tf.errors import StageError
from mim_tf.export.query_encoder import save_query_encoder
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.training.item_encoder_model import save_item_encoder_model
from mim_tf.training.represent import fingerprint_file
from mim_tf.workdir import StageFolder
from tests.finetuning.toy_csft import DIM, SIZE, item_encoder

pytestmark = pytest.mark.slow

IN_ANOTHER_PROCESS = """
import sys
for name in ("mim_tf", "keras", "keras_nlp", "keras_hub", "tensorflow_text"):  # titles are not its business
    sys.modules[name] = None  # importing it fails
import pathlib, numpy, tensorflow
folder = pathlib.Path(sys.argv[1])
signatures = tensorflow.saved_model.load(folder / "served").signatures
image = tensorflow.constant([(folder / f"{row}.png").read_bytes() for row in range(3)])
for name in ("embed", "serving_default"):
    answer = signatures[name](image=image)
    numpy.savez(folder / f"{name}.npz", embedding=answer["embedding"], encoder=answer["encoder"].numpy().astype(bytes))
"""


def finished(folder: Path) -> tuple[StageFolder, ItemEncoder]:
    """A stage with a centred encoder, and that encoder as it was trained."""
    represent, encoder = StageFolder(folder, "represent"), item_encoder()
    represent.path.mkdir()
    encoder.fusion.out.bias.assign(tf.range(DIM, dtype=tf.float32))
    save_item_encoder_model(represent, encoder)
    fingerprint_file(represent).write_text("0123456789abcdef\n")
    return represent, encoder


def test_images_become_what_the_vision_encoder_makes_of_them(tmp_path: Path) -> None:
    represent, encoder = finished(tmp_path)
    save_query_encoder(represent, tmp_path / "served")
    pictures = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    for row, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{row}.png")
    command = [sys.executable, "-W", "ignore", "-c", IN_ANOTHER_PROCESS, tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=300)

    expected = encoder.vision(tf.cast(pictures, tf.float32), training=False)  # of the right size: they stay as they are
    for name in ("embed", "serving_default"):
        answer = np.load(tmp_path / f"{name}.npz")
        np.testing.assert_allclose(answer["embedding"], expected, atol=1e-5)
        assert answer["encoder"].tolist() == [b"0123456789abcdef"] * 3


def test_it_holds_the_vision_encoders_weights_alone(tmp_path: Path) -> None:
    represent, encoder = finished(tmp_path)
    save_query_encoder(represent, tmp_path / "served")
    held = tf.train.list_variables(str(tmp_path / "served" / "variables" / "variables"))
    shapes = sorted(tuple(shape) for name, shape in held if "VARIABLE_VALUE" in name)
    assert shapes == sorted(tuple(variable.shape) for variable in encoder.vision.variables)
    assert list((tmp_path / "served" / "assets").glob("*")) == []  # nor the tokeniser's


def test_a_bomb_is_refused_by_the_served_model_and_the_others_still_answered(tmp_path: Path) -> None:
    represent, _ = finished(tmp_path)
    save_query_encoder(represent, tmp_path / "served")
    embed = tf.saved_model.load(tmp_path / "served").signatures["embed"]
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (10, 20, 30)).save(file, "PNG")
    good = file.getvalue()
    declared = b"IHDR" + struct.pack(">II", 50_000, 50_000) + good[24:29]
    bomb = good[:12] + declared + struct.pack(">I", zlib.crc32(declared)) + good[33:]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`image` must have at most .*\[50000 50000\]"):
        embed(image=tf.constant([good, bomb]))
    assert embed(image=tf.constant([good, good]))["embedding"].shape == (2, DIM)


def test_a_stage_of_an_earlier_release_says_what_to_do(tmp_path: Path) -> None:
    represent = StageFolder(tmp_path, "represent")
    represent.path.mkdir()
    earlier = tf.Module()
    tf.saved_model.save(earlier, str(represent.path / "item_encoder_model"))
    with pytest.raises(
        StageError, match=r"represent has no query encoder, .*Delete item_encoder_model and metrics\.json in it"
    ):
        save_query_encoder(represent, tmp_path / "served")
