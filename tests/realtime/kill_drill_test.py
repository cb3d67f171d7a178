"""A short drill; `python -m benchmarks.kill_drill` runs long ones."""

from pathlib import Path

import pytest

from benchmarks.kill_drill import BURST, Drill


@pytest.mark.slow
def test_deaths_lose_nothing(tmp_path: Path) -> None:
    drill = Drill(tmp_path, deaths=4, seed=0)
    drill.run()  # compares store, server and truth
    assert len(drill.truth) > BURST + 100
    assert drill.bursts > 1
    assert drill.caught_up >= BURST  # more than an upsert takes: several pieces
    assert drill.lookups > 0
