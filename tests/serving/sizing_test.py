"""serving/SIZING.md: its arithmetic, and whether what it names is there."""

import re

import pytest

from tests.serving.deployment_files import SERVING

TEXT = (SERVING / "SIZING.md").read_text(encoding="utf-8")
# | 4 million | 128 | 1.4 | 0.8 | 0.1 |
ROWS = re.findall(r"^\| ([\d.]+) million.*? \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", TEXT, re.MULTILINE)


def gigabytes(items: float, dim: int) -> tuple[float, float, float]:
    """Of a table with a quarter of spare rows, in float16 and in int8, and of its index."""
    rows = 1.25 * items
    buckets = 1
    while 0.8 * buckets < rows:
        buckets *= 2
    index = 12 * buckets
    return (2 * dim * rows + index) / 1e9, ((dim + 4) * rows + index) / 1e9, index / 1e9


def test_there_are_sizes() -> None:
    assert [float(millions) for millions, *_ in ROWS] == [1, 4, 16.16, 100]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} million")
def test_sizes_follow_the_formula(row: tuple[str, ...]) -> None:
    millions, dim, *told = row
    for exact, text in zip(gigabytes(1e6 * float(millions), int(dim)), told, strict=True):
        digits = len(text.partition(".")[2])
        assert round(exact, digits) == float(text)


def test_commands_are_there() -> None:
    modules = set(re.findall(r"python -m ([\w.]+)", TEXT))
    assert len(modules) > 4
    for module in modules:
        place = SERVING.parent / module.replace("mim_tf.serving", "serving").replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module
