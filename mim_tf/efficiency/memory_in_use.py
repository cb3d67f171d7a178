"""The memory that the steps of a model take: the GPU's where there is one, otherwise the process's."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import tensorflow as tf

_GPU = "GPU:0"
_PROCESS = Path("/proc/self")


def memory_in_use() -> int:
    """Bytes now."""
    if tf.config.list_physical_devices("GPU"):
        return int(tf.config.experimental.get_memory_info(_GPU)["current"])
    return _of_process("VmRSS")


def peak_memory() -> int:
    """Bytes at most since `forget_peak`."""
    if tf.config.list_physical_devices("GPU"):
        return int(tf.config.experimental.get_memory_info(_GPU)["peak"])
    return _of_process("VmHWM")


def forget_peak() -> None:
    """Let the peak be what is in use now."""
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.reset_memory_stats(_GPU)
        return
    with suppress(OSError):  # a kernel that does not let go of it: it stays that since the process began
        (_PROCESS / "clear_refs").write_text("5")


def _of_process(field: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024
