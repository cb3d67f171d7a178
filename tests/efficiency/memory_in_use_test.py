"""Bytes in use, now and at most."""

import pytest
import tensorflow as tf

from mim_tf.efficiency.memory_in_use import forget_peak, memory_in_use, peak_memory

MANY = 300_000_000


def test_the_peak_is_of_what_was_let_go_too_until_it_is_forgotten() -> None:
    forget_peak()
    before = memory_in_use()
    block = bytearray(MANY)
    block[::4096] = b"x" * len(block[::4096])  # what nobody writes to takes no memory
    assert memory_in_use() - before == pytest.approx(MANY, rel=0.1)
    del block
    assert memory_in_use() - before < 0.1 * MANY
    assert peak_memory() - before == pytest.approx(MANY, rel=0.1)
    forget_peak()
    assert peak_memory() - before < 0.1 * MANY


def test_with_a_gpu_it_is_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"current": 3, "peak": 7}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda device: used if device == "GPU:0" else {})
    monkeypatch.setattr(tf.config.experimental, "reset_memory_stats", lambda device: used.update(peak=used["current"]))
    assert (memory_in_use(), peak_memory()) == (3, 7)
    forget_peak()
    assert (memory_in_use(), peak_memory()) == (3, 3)
