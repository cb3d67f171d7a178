"""The item encoder as a served model, in a process where our code is not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.export.item_encoder import save_item_encoder
from mim_tf.training.item_encoder_model import save_item_encoder_model
from mim_tf.training.represent import fingerprint_file
from mim_tf.workdir import StageFolder
from tests.finetuning.toy_csft import DIM, TITLES, item_encoder

IN_ANOTHER_PROCESS = """
import sys
for name in ("mim_tf", "keras_nlp", "keras_hub"):  # tensorflow_text itself imports keras
    sys.modules[name] = None  # importing it fails
import pathlib, numpy, tensorflow, tensorflow_text  # the latter for its ops, which stock servers link
folder = pathlib.Path(sys.argv[1])
embed = tensorflow.saved_model.load(folder / "served").signatures["embed"]
image = tensorflow.constant([(folder / f"{row}.png").read_bytes() for row in range(8)])
title = tensorflow.constant((folder / "titles.txt").read_text().split("\\n"))
answer = embed(image=image, title=title)
numpy.savez(folder / "answer.npz", embedding=answer["embedding"], encoder=answer["encoder"].numpy().astype(bytes))
"""


@pytest.mark.slow
def test_images_and_titles_become_the_embeddings_of_the_store(tmp_path: Path) -> None:
    encoder, represent = item_encoder(), StageFolder(tmp_path, "represent")
    represent.path.mkdir()
    save_item_encoder_model(represent, encoder)
    fingerprint_file(represent).write_text("0123456789abcdef\n")
    save_item_encoder(represent, tmp_path / "served")

    (tmp_path / "titles.txt").write_text("\n".join(TITLES))
    pictures = np.random.default_rng(0).integers(0, 256, (8, 40, 32, 3), np.uint8)
    for row, picture in enumerate(pictures):
        (tmp_path / f"{row}.png").write_bytes(tf.io.encode_png(picture).numpy())
    command = [sys.executable, "-W", "ignore", "-c", IN_ANOTHER_PROCESS, tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=300)

    answer = np.load(tmp_path / "answer.npz")
    images = tf.stack([encoder.vision.decode((tmp_path / f"{row}.png").read_bytes()) for row in range(8)])
    expected = encoder(images, encoder.text.tokenize(tf.constant(TITLES.tolist())), training=False).fused
    assert answer["embedding"].shape == (8, DIM)
    np.testing.assert_allclose(answer["embedding"], expected, atol=1e-6)
    assert answer["encoder"].tolist() == [b"0123456789abcdef"] * 8
