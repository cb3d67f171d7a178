"""TF Text's ops, which stock TF Serving links and stock TensorFlow lacks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mim_tf.errors import ExportError


def text_libraries() -> list[Path]:
    """The shared objects of TF Text's ops.

    Raises:
        ExportError: TF Text is not installed.
    """
    # By path: importing TF Text would register its ops in this process.
    found = importlib.util.find_spec("tensorflow_text")
    if found is None or not found.submodule_search_locations:
        raise ExportError("`text_ops` must be off where tensorflow-text is not installed: pip install tensorflow-text.")
    return sorted(Path(found.submodule_search_locations[0]).glob("python/ops/_*.so"))
