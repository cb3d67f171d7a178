"""`python -m mim_tf.demo.planted_signs`: whether an experiment on the drawn shop found what was planted in it."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pyarrow import parquet
from scipy.stats import spearmanr

from mim_tf.commandline import command_parser, run_command
from mim_tf.errors import StageError

_EPILOG = """\
The drawn shop's customers buy by a taste in content, which counts more in some categories, and by another kind of
taste. So on it MIM must gain with every user behaviour model, each part that is left out must cost, the newest items
must gain most, and categories the more, the more content counts in them. Exit code 1 if one of these is not so.

example:
  python -m mim_tf.demo.planted_signs --workdir build/paper
"""


class Sign(NamedTuple):
    """One expectation and what was found.

    Attributes:
        expected: in words.
        found: in numbers.
        right: whether it holds.
    """

    expected: str
    found: str
    right: bool


def main() -> None:
    """Run the command."""
    parser = command_parser("demo.planted_signs", "Whether the experiment found what was planted.", _EPILOG)
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of the experiment, with the shop in DIR/shop")
    signs = list(planted_signs(Path(parser.parse_args().workdir)))
    for sign in signs:
        print(f"{'yes' if sign.right else 'NO ':<4} {sign.expected}: {sign.found}")
    if not all(sign.right for sign in signs):
        sys.exit(1)


def planted_signs(workdir: Path) -> Iterator[Sign]:
    """What an experiment's tables say of each expectation.

    Raises:
        StageError: a table is not there, or lacks numbers.
    """
    for name in (f"{ubm}, Δ" for ubm in ("Avg Pooling", "DIN", "DIEN", "BST", "TWIN", "SIM")):
        gain = _number(workdir, "table2", name, "ALL")
        yield Sign(f"MIM gains with {name.removesuffix(', Δ')}", f"{gain:+.4f} in AUC", gain > 0)
    for name in (name for name in _rows(workdir, "table5") if name != "MIM"):
        change, p = (_number(workdir, "table5", name, column) for column in ("Δ", "Δ p"))
        yield Sign(f"{name} costs", f"{change:+.4f} in AUC, p {p:.3f}", change < 0)
    gains = {name: _number(workdir, "figure6", name, "Δ") for name in (f"S{number}" for number in range(1, 11))}
    newest, others = gains.pop("S1"), max(gains.values())
    yield Sign("the newest items gain most", f"S1 {newest:+.4f}, the best of the others {others:+.4f}", newest > others)
    yield _by_content(workdir)


def _by_content(workdir: Path) -> Sign:
    """Gains of categories against how much content counts in them."""
    shop = workdir / "shop"
    categories = parquet.read_table(shop / "items.parquet", columns=["item_id", "category"]).to_pydict()
    truth = parquet.read_table(shop / "truth" / "items.parquet", columns=["item_id", "content_weight"]).to_pydict()
    weights = dict(zip(truth["item_id"], truth["content_weight"], strict=True))
    counts = {kind: weights[item] for item, kind in zip(categories["item_id"], categories["category"], strict=True)}
    gains = {name: _number(workdir, "table7", name, "Δ") for name in _rows(workdir, "table7") if name in counts}
    rank = spearmanr([counts[name] for name in gains], list(gains.values()))
    found = f"rank correlation {rank.statistic:.2f} of {len(gains)} categories, p {rank.pvalue:.3f}"
    return Sign("categories in which content counts more gain more", found, rank.statistic > 0 and rank.pvalue < 0.05)


def _number(workdir: Path, table: str, row: str, column: str) -> float:
    value = _rows(workdir, table).get(row, {}).get(column)
    if not value:
        raise StageError(
            f"{workdir / 'tables' / table}.csv must have a number for {row}, {column}: several seeds of all parts."
        )
    return float(value)


def _rows(workdir: Path, name: str) -> dict[str, dict[str, str]]:
    path = workdir / "tables" / f"{name}.csv"
    if not path.exists():
        raise StageError(f"{path} is missing. Run mim_tf.experiment on {workdir} first.")
    with path.open(encoding="utf-8", newline="") as file:
        return {row[""]: row for row in csv.DictReader(file)}


if __name__ == "__main__":
    run_command(main)
