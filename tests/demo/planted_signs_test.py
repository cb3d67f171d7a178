"""Whether planted signs are read rightly off an experiment's tables."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from mim_tf.demo.planted_signs import planted_signs
from mim_tf.errors import StageError

UBMS = ("Avg Pooling", "DIN", "DIEN", "BST", "TWIN", "SIM")
CATEGORIES = {"dress": 1.4, "hat": 1.1, "umbrella": 0.8, "mug": 0.4, "lamp": 0.3}


def write(workdir: Path, name: str, header: str, rows: dict[str, str]) -> None:
    (workdir / "tables").mkdir(exist_ok=True)
    lines = [header, *(f'"{row}",{cells}' for row, cells in rows.items())]
    (workdir / "tables" / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """All as it should be."""
    write(tmp_path, "table2", ",ALL", {f"{ubm}, {row}": "0.1" for ubm in UBMS for row in ("Base", "Base+MIM", "Δ")})
    write(tmp_path, "table5", ",AUC,Δ,Δ p", {"MIM": "0.6,,", "w/o TFN": "0.5,-0.1,0.01", "w/o ID": "0.5,-0.1,0.9"})
    write(tmp_path, "figure6", ",Δ", {f"S{number}": f"{0.2 - number / 100}" for number in range(1, 11)})
    gains = {"ALL": "0.1"} | {name: f"{weight / 10}" for name, weight in CATEGORIES.items()}
    write(tmp_path, "table7", ",Δ", gains)
    (tmp_path / "shop" / "truth").mkdir(parents=True)
    ids = list(range(len(CATEGORIES)))
    parquet.write_table(pa.table({"item_id": ids, "category": list(CATEGORIES)}), tmp_path / "shop" / "items.parquet")
    truth = pa.table({"item_id": ids, "content_weight": list(CATEGORIES.values())})
    parquet.write_table(truth, tmp_path / "shop" / "truth" / "items.parquet")
    return tmp_path


def test_all_as_it_should_be(workdir: Path) -> None:
    signs = list(planted_signs(workdir))
    assert len(signs) == 6 + 2 + 1 + 1
    assert all(sign.right for sign in signs)
    assert signs[-1].found.startswith("rank correlation 1.00 of 5 categories")


def test_what_is_wrong_is_found(workdir: Path) -> None:
    write(workdir, "table2", ",ALL", {f"{ubm}, Δ": "-0.01" if ubm == "BST" else "0.1" for ubm in UBMS})
    write(workdir, "table5", ",AUC,Δ,Δ p", {"MIM": "0.6,,", "w/o TFN": "0.7,0.1,0.01"})
    write(workdir, "figure6", ",Δ", {f"S{number}": f"{number / 100}" for number in range(1, 11)})
    write(workdir, "table7", ",Δ", {name: f"{-weight}" for name, weight in CATEGORIES.items()})
    wrong = [sign.expected for sign in planted_signs(workdir) if not sign.right]
    assert wrong == [
        "MIM gains with BST",
        "w/o TFN costs",
        "the newest items gain most",
        "categories in which content counts more gain more",
    ]


@pytest.mark.parametrize(
    ("name", "header", "rows"),
    [
        ("table2", ",ALL", {"DIN, Δ": "0.1"}),
        ("table5", ",AUC,Δ", {"MIM": "0.6,", "w/o TFN": "0.5,-0.1"}),  # one seed: no p-value
        ("figure6", ",Δ", {"S2": "0.1"}),
    ],
)
def test_missing_numbers_are_no_signs(workdir: Path, name: str, header: str, rows: dict[str, str]) -> None:
    write(workdir, name, header, rows)
    with pytest.raises(StageError, match=rf"{name}\.csv must have a number for"):
        list(planted_signs(workdir))


def test_a_missing_table_is_told(workdir: Path) -> None:
    (workdir / "tables" / "table7.csv").unlink()
    with pytest.raises(StageError, match=r"table7\.csv is missing\. Run mim_tf\.experiment"):
        list(planted_signs(workdir))
