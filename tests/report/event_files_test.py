"""Scalars against what was written by TensorFlow's own writer."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from mim_tf.report.event_files import read_scalars


def write(folder: Path, suffix: str, values: dict[int, float], tag: str = "loss") -> None:
    writer = tf.summary.create_file_writer(str(folder), filename_suffix=suffix)
    with writer.as_default():
        for step, value in values.items():
            tf.summary.scalar(tag, value, step=step)
            tf.summary.image("picture", np.zeros((1, 2, 2, 3), np.uint8), step=step)
            tf.summary.histogram("lengths", [1.0, 2.0], step=step)
    writer.close()


def test_scalars_alone_in_the_order_of_steps(tmp_path: Path) -> None:
    write(tmp_path, ".v2", {3: 0.5, 1: 2.0, 2: float("nan")})
    write(tmp_path / "another", ".v2", {1: 7.0})
    [(tag, curve)] = read_scalars(tmp_path).items()
    assert (tag, curve.steps, curve.values) == ("loss", [1, 3], [2.0, 0.5])


def test_what_was_done_again_counts_as_it_was_done_last(tmp_path: Path) -> None:
    write(tmp_path / "a", ".first", {1: 3.0, 2: 2.0, 3: 1.5})
    write(tmp_path / "b", ".second", {2: 2.5, 3: 1.0, 4: 0.5})
    folder = tmp_path / "run"
    folder.mkdir()
    for number, part in enumerate("ab"):
        [file] = (tmp_path / part).iterdir()
        file.rename(folder / f"events.out.tfevents.{100 + number}.host")
    assert read_scalars(folder)["loss"] == ([1, 2, 3, 4], [3.0, 2.5, 1.0, 0.5])


def test_a_file_that_breaks_off_gives_what_is_whole(tmp_path: Path) -> None:
    write(tmp_path, ".v2", {1: 3.0, 2: 2.0})
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    assert read_scalars(tmp_path)["loss"].values[0] == 3.0


def test_no_files_are_no_scalars(tmp_path: Path) -> None:
    assert read_scalars(tmp_path / "none") == {}
