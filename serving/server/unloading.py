"""How the memory of a loaded SavedModel is given back."""

from __future__ import annotations

import ctypes
import gc

import tensorflow as tf


def destroy_tables(model: tf.Module) -> None:
    """Destroys the hash tables of a loaded SavedModel: unlike its variables, they outlive the Python objects."""
    for part in tf.train.TrackableView(model).descendants():
        if isinstance(part, tf.saved_model.experimental.TrackableResource):
            tf.raw_ops.DestroyResourceOp(resource=part.resource_handle, ignore_lookup_error=True)


def free_memory() -> None:
    """Gives back to the system what nothing refers to any more.

    Of TensorFlow's memory, what comes from the system's allocator: see `__main__.py`.
    """
    gc.collect()  # functions and the variables they capture refer to each other
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone, which keeps what was freed for later
    if trim is not None:
        trim(0)
