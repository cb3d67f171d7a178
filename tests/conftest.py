"""Which tests run in which Keras mode: a process is either Keras 3 or, with TF_USE_LEGACY_KERAS=1, tf_keras."""

import gc
import os
import random

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
LEGACY = os.environ.get("TF_USE_LEGACY_KERAS") == "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to the other mode: `make test` runs pytest once in each."""
    here = {"both_kerases", "legacy_keras"} if LEGACY else {"both_kerases"}
    selected, deselected = [], []
    for item in items:
        modes = {mark.name for mark in item.iter_markers() if mark.name in ("both_kerases", "legacy_keras")}
        runs = bool(modes & here) if (modes or LEGACY) else True
        (selected if runs else deselected).append(item)
    items[:] = selected
    config.hook.pytest_deselected(items=deselected)


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of all garbage collections: millions of objects, walked through by each."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """What is never freed would be told of as leaks when the process ends."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random state."""
    import numpy as np
    import tensorflow as tf

    random.seed(0)  # Keras 3 draws the seeds of initialisers from it
    np.random.seed(0)
    tf.random.set_seed(0)
