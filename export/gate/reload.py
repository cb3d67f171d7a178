"""The SavedModel in a fresh process that has TensorFlow's Python and nothing of ours."""

from __future__ import annotations

import sys
from pathlib import Path

from mim_tf.export.gate.runner import Runner
from mim_tf.export.gate.text_ops import text_libraries


def python_runner(*, text_ops: bool, timeout: float = 600.0) -> Runner:
    """Python, without `mim_tf`, Keras' legacy package, TFRS, keras-nlp and TF Text's Python.

    Args:
        text_ops: whether TF Text's ops are loaded.
        timeout: seconds.
    """
    script = Path(__file__).with_name("run_saved_model.py")
    return Runner([sys.executable, str(script)], text_libraries() if text_ops else (), timeout)
