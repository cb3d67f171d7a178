"""The catalogue in the projector: as it is embedded one by one, bounded, in the order of the records."""

import csv
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.training import item_projector
from mim_tf.training.item_projector import project_items
from tests.training.toy_items import Item, records_of, toy_encoder, toy_items


def rows_of(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines, delimiter="\t"))


def expected(encoder: ItemEncoder, item: Item) -> dict[str, np.ndarray]:
    pixels = encoder.vision.decode(tf.constant(item.image))[tf.newaxis]
    embeddings = encoder(pixels, encoder.text.tokenize(tf.constant([item.title])))
    return {"image": embeddings.image[0], "title": embeddings.text[0], "fused": embeddings.fused[0]}


@pytest.mark.slow
def test_three_embeddings_of_every_item_with_its_thumbnail(tmp_path: Path) -> None:
    encoder, items = toy_encoder(), toy_items(7)
    project_items(encoder, records_of(items), 4, tmp_path / "projector")
    for name in ("image", "title", "fused"):
        rows = np.array(rows_of(tmp_path / "projector" / f"{name}.tsv"), np.float32)
        np.testing.assert_allclose(rows, [expected(encoder, item)[name] for item in items], rtol=1e-3, atol=1e-4)
    assert rows_of(tmp_path / "projector" / "metadata.tsv")[1:] == [[item.title, "c"] for item in items]
    sprite = np.asarray(Image.open(tmp_path / "projector" / "sprite.png").convert("RGB"))
    assert sprite.shape == (3 * 64, 3 * 64, 3)
    assert (sprite[128:, 64:] == 255).all()  # seven of nine
    assert (sprite[128:, :64] != 255).any()


def test_of_a_large_catalogue_the_first_records_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_projector, "MOST_ITEMS", 5)
    items = toy_items(9)
    project_items(toy_encoder(), records_of(items), 4, tmp_path / "projector")
    assert rows_of(tmp_path / "projector" / "metadata.tsv")[1:] == [[item.title, "c"] for item in items[:5]]
    assert len(rows_of(tmp_path / "projector" / "fused.tsv")) == 5
