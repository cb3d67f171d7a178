"""Runs a SavedModel with stock TensorFlow's Python, in a process of its own; `run_saved_model.cc` without Python.

    python run_saved_model.py ops OUT [--library SO]...
    python run_saved_model.py run FOLDER CALLS RESULTS [--library SO]...

It is run by its path: what defined the model cannot be imported here, so that nothing of it is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

for _name in ("mim_tf", "tf_keras", "tensorflow_recommenders", "keras_nlp", "keras_hub", "tensorflow_text"):
    sys.modules[_name] = None  # type: ignore[assignment]  # importing it fails

from call_file import Call, Result, read_calls, write_results  # noqa: E402  # beside this script

sys.path.pop(0)  # no other module of this folder stands where one of TensorFlow's is meant

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.python.client import pywrap_tf_session  # noqa: E402


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", action="append", default=[])
    commands = parser.add_subparsers(dest="command", required=True)
    ops = commands.add_parser("ops")
    ops.add_argument("out", type=Path)
    run = commands.add_parser("run")
    for operand in ("folder", "calls", "results"):
        run.add_argument(operand, type=Path)
    arguments = parser.parse_args()
    try:
        _run(arguments)
    except Exception as error:  # whatever it is, the caller reports it
        sys.exit(f"{type(error).__name__}: {error}")


def _run(arguments: argparse.Namespace) -> None:
    for library in arguments.library:
        tf.load_op_library(library)
    if arguments.command == "ops":
        arguments.out.write_bytes(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
        return
    # Kept by its name for as long as calls are made: the signatures alone do not hold the variables.
    model = tf.saved_model.load(str(arguments.folder))
    calls = read_calls(arguments.calls)
    write_results(arguments.results, [_result(model.signatures[call.signature], call) for call in calls])


def _result(signature: Callable[..., dict[str, tf.Tensor]], call: Call) -> Result:
    inputs = {name: tf.constant(values, _dtype(values)) for name, values in call.inputs.items()}
    try:
        return Result({name: _values(output) for name, output in signature(**inputs).items()})
    except (tf.errors.OpError, TypeError, ValueError) as error:
        return Result({}, f"{type(error).__name__}: {error}")


def _dtype(values: np.ndarray) -> tf.DType:
    return tf.string if values.dtype == object else tf.as_dtype(values.dtype)


def _values(output: tf.Tensor) -> np.ndarray:
    """NumPy itself would cut a single string's trailing NULs."""
    return np.array(output.numpy(), object if output.dtype == tf.string else None)


if __name__ == "__main__":
    main()
