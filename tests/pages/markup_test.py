"""Markup, read back by Python's own parser."""

from html.parser import HTMLParser

from mim_tf.pages.markup import Html, details, element, image, paragraph, table, together

EVIL = "<script>alert('x')</script> & \"so on\" 'too'"


class Parsed(HTMLParser):
    """What a browser would see: elements with their attributes, and texts."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_text_and_attributes_come_back_as_they_were() -> None:
    parsed = Parsed(element("p", EVIL, title=EVIL, data_weights="1,2", class_="a", hidden=None))
    assert parsed.elements == [("p", {"title": EVIL, "data-weights": "1,2", "class": "a"})]
    assert "".join(parsed.texts) == EVIL


def test_elements_are_not_escaped_again() -> None:
    inner = element("b", "1 < 2")
    assert element("p", "so: ", inner) == "<p>so: <b>1 &lt; 2</b></p>"
    assert together(inner, "<") == "<b>1 &lt; 2</b>&lt;"
    assert paragraph(together("a", inner)) == "<p>a<b>1 &lt; 2</b></p>"
    assert isinstance(inner, Html)


def test_what_python_makes_of_html_is_text_again() -> None:
    assert element("p", element("b", "x").replace("x", "y")) == "<p>&lt;b&gt;y&lt;/b&gt;</p>"


def test_a_table_names_its_rows_and_marks_some() -> None:
    parsed = Parsed(table(["name", "n"], [[EVIL, "1"], ["mug", "2"]], marked=[False, True]))
    tags = [tag for tag, _ in parsed.elements if tag in ("tr", "th", "td")]
    assert tags == ["tr", "th", "th", "tr", "th", "td", "tr", "th", "td"]
    assert [attributes for tag, attributes in parsed.elements if tag == "tr"] == [{}, {}, {"class": "marked"}]
    assert "".join(parsed.texts) == f"namen{EVIL}1mug2"


def test_pictures_are_inside() -> None:
    [(tag, attributes)] = Parsed(image(b"\x00\xff", "webp", EVIL, width=96)).elements
    assert tag == "img"
    assert attributes == {"src": "data:image/webp;base64,AP8=", "alt": EVIL, "width": "96"}


def test_details_are_closed() -> None:
    assert details("more", "x") == "<details><summary>more</summary>x</details>"
