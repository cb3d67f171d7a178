"""Sheets as text: read back by the csv module, by a Markdown row at a time, and by an HTML parser."""

import csv
import io
from html.parser import HTMLParser
from pathlib import Path

from mim_tf.experiment.page import sheet_section
from mim_tf.experiment.sheet import Number, Sheet
from mim_tf.experiment.write_sheet import write_sheet
from mim_tf.figures.estimates import estimates_figure
from mim_tf.metrics import Interval
from mim_tf.pages.page import page

NAN = float("nan")
PAPER = Sheet("paper", "The paper's", ("AUC",), [("Base", {"AUC": ".7"})])
SHEET = Sheet(
    "table9",
    "Table 9: <b> & | bars",
    ("AUC", "Δ", "impressions"),
    [
        ("Base", {"AUC": Number(Interval(0.5, NAN, NAN)), "impressions": 12345}),
        (
            "a|b <script>",
            {"AUC": Number(Interval(0.61239, 0.6, 0.62478)), "Δ": Number(Interval(0.11, 0.1, 0.12), p=0.01)},
        ),
        ("c", {"Δ": Number(Interval(-0.2, -0.4, 0), p=NAN)}),
    ],
    ("A note & more",),
    PAPER,
    estimates_figure(["Base", "c"], [Interval(0.5, NAN, NAN), Interval(-0.2, -0.4, 0)], "AUC", reference=0),
)


def test_cells() -> None:
    assert SHEET.cells() == [
        ["Base", "0.5000", "", "12,345"],
        ["a|b <script>", "0.6124 ± 0.0124", "+0.1100 ± 0.0100 *", ""],
        ["c", "", "-0.2000 ± 0.2000", ""],
    ]


def test_an_uneven_interval_is_shown_by_its_ends() -> None:
    assert str(Number(Interval(0.11, 0.1, 0.15), p=NAN)) == "+0.1100 (0.1000 to 0.1500)"
    assert str(Number(Interval(0.61, 0.6, 0.62))) == "0.6100 ± 0.0100"


def test_csv_has_everything_in_full() -> None:
    base, other, last = csv.DictReader(io.StringIO(SHEET.csv()))
    assert base == base | {"": "Base", "AUC": "0.5", "AUC lower": "", "impressions": "12345"}
    assert (other["AUC"], other["AUC lower"], other["AUC upper"]) == ("0.61239", "0.6", "0.62478")
    assert (other["Δ"], other["Δ p"]) == ("0.11", "0.01")
    assert last["Δ p"] == ""


def test_markdown() -> None:
    lines = SHEET.markdown().splitlines()
    assert lines[0] == "## Table 9: <b> & | bars"
    assert "| a\\|b <script> | 0.6124 ± 0.0124 | +0.1100 ± 0.0100 * |  |" in lines
    assert lines.index("A note & more") < lines.index("## The paper's")
    assert "| Base | .7 |" in lines


class Seen(HTMLParser):
    """The texts of headings and cells, and everything that would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [
            value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith("#")
        ]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_page_shows_what_data_says_and_loads_nothing() -> None:
    seen = Seen()
    seen.feed(page("A <title>", "about & so on", [sheet_section(SHEET)]))
    for text in (
        "A <title>",
        "about & so on",
        SHEET.title,
        "a|b <script>",
        "+0.1100 ± 0.0100 *",
        "A note & more",
        ".7",
    ):
        assert text in seen.texts
    assert seen.tags.count("script") == 1  # the page's own
    assert [source[:26] for source in seen.loaded] == ["data:image/svg+xml;base64,"]


def test_files(tmp_path: Path) -> None:
    write_sheet(SHEET, tmp_path / "tables")
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        f"table9.{ending}" for ending in ("csv", "md", "png", "svg")
    ]
    write_sheet(PAPER, tmp_path / "tables")
    assert not (tmp_path / "tables" / "paper.png").exists()
