"""TensorBoard's embedding projector: items as points in space, shown by their images."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.plugins import projector

from mim_tf.training.thumbnails import Photo, thumbnail
from mim_tf.workdir import fresh_folder_aside

_CONFIG, _METADATA, _SPRITE = "projector_config.pbtxt", "metadata.tsv", "sprite.png"
_SPRITE_SIDE = 8192  # pixels; TensorBoard refuses larger ones
_THUMBNAIL, _SMALLEST_THUMBNAIL = 64, 16  # pixels a side
MOST_ITEMS = (_SPRITE_SIDE // _SMALLEST_THUMBNAIL) ** 2
"""As many thumbnails fit in one sprite. The browser moves some 10,000 points with ease."""


def write_projector(
    folder: Path,
    embeddings: Mapping[str, np.ndarray],
    *,
    titles: Sequence[str],
    categories: Sequence[str],
    photos: Sequence[Photo],
) -> None:
    """Write a run of TensorBoard that shows embeddings of the same items in its projector.

    The folder is filled aside and renamed. It holds one tensor file per embedding, the titles and categories, and one
    square sprite of all thumbnails: of 64 pixels each up to 16,384 items and of fewer beyond that, as a sprite may have
    8,192 pixels a side (200 MB while it is drawn).

    It is a run of its own because TensorBoard looks for projectors only when it sees a new run. One that is already
    open shows this one at its next reload, but a later rewrite only after a restart.

    Args:
        folder: new, or of an earlier projector, which is replaced.
        embeddings: `[items, dim]` each, by name, such as `image` and `text`: letters, digits, `_` and `-`.
        titles: one per item.
        categories: one per item; points can be coloured by them.
        photos: one per item, encoded or uint8 `[height, width, 3]`.

    Raises:
        ValueError: the numbers of items differ, there are none or more than `MOST_ITEMS`, an embedding is not finite or
            has another name, or the folder holds something else.
    """
    _check_names_and_values(embeddings)
    _check_items([len(rows) for rows in embeddings.values()] + [len(titles), len(categories), len(photos)])
    if folder.exists() and not (folder / _CONFIG).exists():
        raise ValueError(f"`folder` must be new or of an earlier projector. Received: {folder}, which is neither.")
    aside = fresh_folder_aside(folder)
    side = thumbnail_side(len(photos))
    for name, rows in embeddings.items():
        # Text, not the binary form: TensorBoard tells them apart by whether the bytes happen to be UTF-8.
        np.savetxt(aside / f"{name}.tsv", rows, fmt="%.6g", delimiter="\t")
    lines = [f"{_cell(title)}\t{_cell(category)}\n" for title, category in zip(titles, categories, strict=True)]
    (aside / _METADATA).write_text("title\tcategory\n" + "".join(lines), encoding="utf-8", errors="replace")
    _sprite(photos, side).save(aside / _SPRITE)
    projector.visualize_embeddings(str(aside), _config(embeddings, side))
    _write_event(aside, len(titles))
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def thumbnail_side(items: int) -> int:
    """Pixels a side of each thumbnail in a sprite of so many."""
    return min(_THUMBNAIL, _SPRITE_SIDE // _columns(items))


def _columns(items: int) -> int:
    """Thumbnails a side of the smallest square that holds them."""
    return math.isqrt(items - 1) + 1


def _sprite(photos: Sequence[Photo], side: int) -> Image.Image:
    """All thumbnails from left to right and top to bottom; the rest of the square is white."""
    columns = _columns(len(photos))
    sprite = Image.new("RGB", (columns * side, columns * side), "white")
    for number, photo in enumerate(photos):
        row, column = divmod(number, columns)
        sprite.paste(thumbnail(photo, side), (column * side, row * side))
    return sprite


def _config(names: Mapping[str, np.ndarray], side: int) -> projector.ProjectorConfig:
    config = projector.ProjectorConfig()
    for name in names:
        embedding = config.embeddings.add(tensor_name=name, tensor_path=f"{name}.tsv", metadata_path=_METADATA)
        embedding.sprite.image_path = _SPRITE
        embedding.sprite.single_image_dim.extend([side, side])
    return config


def _write_event(folder: Path, items: int) -> None:
    """Make the folder a run, which to TensorBoard is a folder with events."""
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=0):
        tf.summary.scalar("items", items)
    writer.close()


def _cell(text: str) -> str:
    """The text on one line, without tabs; TensorBoard drops lines that are blank."""
    return " ".join(text.split()) or "-"


def _check_names_and_values(embeddings: Mapping[str, np.ndarray]) -> None:
    for name, rows in embeddings.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"`embeddings` must be named by letters, digits, _ and -. Received: {name!r}.")
        if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
            raise ValueError(
                "`embeddings` must be finite, of shape [items, dim], and not empty. "
                f"Received: {name!r} of shape {rows.shape}, {np.count_nonzero(~np.isfinite(rows))} values not finite."
            )


def _check_items(counts: list[int]) -> None:
    if len(set(counts)) != 1:
        raise ValueError(f"`embeddings`, `titles`, `categories` and `photos` must be equally many. Received: {counts}.")
    if not 1 <= counts[0] <= MOST_ITEMS:
        raise ValueError(f"`photos` must be from 1 to {MOST_ITEMS}. Received: {counts[0]}; take a sample.")
