"""`python -m mim_tf.experiment.stage_worker`: a process that runs one stage after another, as it is told.

A stage may be short beside the start of TensorFlow, so an experiment's many stages share processes, of one Keras mode
each. A line on standard input is a stage to run, `{"stage", "config", "workdir", "log"}`; the line that answers on
standard output is `{"error": null}`, or what went wrong. What a stage says goes into its log.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from queue import SimpleQueue

from mim_tf.commandline import run_command, set_keras_mode
from mim_tf.errors import MimError
from mim_tf.settings import load_settings
from mim_tf.training.stages import LEGACY_KERAS_STAGES, run_stage


def main() -> None:
    """Run the stages that standard input names, until it ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stages that train have a handler of their own
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=[orders], daemon=True).start()
    while True:
        print(json.dumps({"error": _run(json.loads(orders.get()), int(sys.argv[1]))}), file=answers)


def _read(orders: SimpleQueue[str]) -> None:
    """Hand on what is to be run; end the process with its input, also in the middle of a stage: nobody waits for it."""
    for line in sys.stdin:
        orders.put(line)
    os.kill(os.getpid(), signal.SIGTERM)


def _run(task: dict[str, str], threads: int) -> str | None:
    """Run one stage; returns what went wrong."""
    log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        set_keras_mode(legacy=task["stage"] in LEGACY_KERAS_STAGES)
        _limit(threads)
        options = f"--config {task['config']} --workdir {task['workdir']}"
        run_stage(task["stage"], load_settings(task["config"]), Path(task["workdir"]), options)
    except (MimError, OSError) as error:
        return str(error)
    except Exception as error:  # the other stages' results are worth having
        traceback.print_exc()
        return f"{type(error).__name__}: {error} (see {task['log']})"
    finally:
        _forget()
    return None


def _limit(threads: int) -> None:
    """Leave the other processes their cores; only the first call in a process counts."""
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        for device in tf.config.list_physical_devices("GPU"):  # which other lanes use too
            tf.config.experimental.set_memory_growth(device, True)


def _forget() -> None:
    """Let go of the stage's graphs, which Keras keeps."""
    from tensorflow import keras

    sys.stdout.flush()
    sys.stderr.flush()
    keras.backend.clear_session()


if __name__ == "__main__":
    run_command(main)
