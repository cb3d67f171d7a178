"""The projector as TensorBoard's own plugin serves it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client, TestResponse

from mim_tf.training.projector import MOST_ITEMS, thumbnail_side, write_projector

COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)], np.uint8)
TITLES = ["Red shoe", "Green\tbag\nwith tab", "", "女士连衣裙", "yes \ud800"]
CATEGORIES = ["shoe", "bag", "", "dress", "shirt"]


def write(folder: Path, items: int = 5, **changes: object) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(items)
    embeddings = {"image": rng.normal(size=(items, 3)), "text": np.zeros((items, 4), np.float32)}
    photos = [np.full((9, 9, 3), colour, np.uint8) for colour in COLOURS[:items]]
    arguments = {"titles": TITLES[:items], "categories": CATEGORIES[:items], "photos": photos, **changes}
    embeddings = arguments.pop("embeddings", embeddings)
    write_projector(folder, embeddings, **arguments)
    return embeddings


class Board:
    """TensorBoard without its server."""

    def __init__(self, folder: Path):
        self._multiplexer = EventMultiplexer()
        self._folder = folder
        provider = MultiplexerDataProvider(self._multiplexer, str(folder))
        self._apps = ProjectorPlugin(TBContext(data_provider=provider, logdir=str(folder))).get_plugin_apps()

    def reload(self) -> None:
        self._multiplexer.AddRunsFromDirectory(str(self._folder))
        self._multiplexer.Reload()

    def get(self, route: str, **arguments: str) -> TestResponse:
        response = Client(self._apps[route]).get(query_string=arguments)
        assert response.status_code == 200, response.text
        return response


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_tensorboard_serves_every_embedding(tmp_path: Path, board: Board) -> None:
    embeddings = write(tmp_path / "projector")
    board.reload()
    shown = board.get("/info", run="projector").json["embeddings"]
    assert {one["tensorName"]: one["tensorShape"] for one in shown} == {"image": [5, 3], "text": [5, 4]}
    for name, rows in embeddings.items():
        served = np.frombuffer(board.get("/tensor", run="projector", name=name).data, np.float32)
        np.testing.assert_allclose(served.reshape(rows.shape), rows, rtol=1e-5)


def test_titles_stand_on_one_line_each(tmp_path: Path, board: Board) -> None:
    write(tmp_path / "projector")
    board.reload()
    lines = board.get("/metadata", run="projector", name="text").data.decode().split("\n")
    # TensorBoard drops blank lines, and takes a first one with a tab as the header.
    assert lines == [
        *("title\tcategory", "Red shoe\tshoe", "Green bag with tab\tbag", "-\t-", "女士连衣裙\tdress", "yes ?\tshirt"),
        "",
    ]


def test_the_sprite_holds_every_thumbnail_in_its_place(tmp_path: Path, board: Board) -> None:
    write(tmp_path / "projector")
    board.reload()
    sprite = board.get("/info", run="projector").json["embeddings"][0]["sprite"]
    width, height = sprite["singleImageDim"]
    assert (width, height) == (64, 64)
    response = board.get("/sprite_image", run="projector", name="image")
    assert response.mimetype == "image/png"
    with Image.open(io.BytesIO(response.data)) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (3 * 64, 3 * 64, 3)  # a square of nine places for five
    for number, colour in enumerate(COLOURS):
        row, column = number // 3, number % 3
        assert (pixels[64 * row : 64 * row + 64, 64 * column : 64 * column + 64] == colour).all()
    assert (pixels[64:128, 128:] == 255).all()
    assert (pixels[128:] == 255).all()


def test_an_open_tensorboard_finds_a_projector_written_later(tmp_path: Path, board: Board) -> None:
    assert board.get("/runs").json == []
    write(tmp_path / "projector")
    board.reload()
    assert board.get("/runs").json == ["projector"]


def test_a_second_projector_replaces_the_first_whole(tmp_path: Path, board: Board) -> None:
    write(tmp_path / "projector")
    (tmp_path / "projector.partial").mkdir()  # what a killed run left
    (tmp_path / "projector.partial" / "image.tsv").write_text("1\t2")
    write(tmp_path / "projector", items=2, embeddings={"fused": np.ones((2, 6))})
    assert [path.name for path in tmp_path.iterdir()] == ["projector"]
    board.reload()
    (shown,) = board.get("/info", run="projector").json["embeddings"]
    assert (shown["tensorName"], shown["tensorShape"]) == ("fused", [2, 6])
    assert not (tmp_path / "projector" / "image.tsv").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("precious")
    with pytest.raises(ValueError, match=r"`folder` must be new or of an earlier projector\. Received: .*, which is"):
        write(tmp_path)
    assert (tmp_path / "events").read_text() == "precious"


@pytest.mark.parametrize(("items", "side"), [(1, 64), (16384, 64), (16385, 63), (65536, 32), (MOST_ITEMS, 16)])
def test_a_sprite_is_never_larger_than_tensorboard_shows(items: int, side: int) -> None:
    assert thumbnail_side(items) == side
    columns = int(np.ceil(np.sqrt(items)))
    assert columns * side <= 8192


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titles": ["one"]}, r"`photos` must be equally many. Received: \[5, 5, 1, 5, 5\]"),
        ({"embeddings": {"image": np.ones((4, 2))}}, r"`photos` must be equally many. Received: \[4, 5, 5, 5\]"),
        ({"embeddings": {"a/b": np.ones((5, 2))}}, "`embeddings` must be named by letters, digits, _ and -. Received"),
        ({"embeddings": {"a": np.array([[1, np.nan]] * 5)}}, r"`embeddings` must be finite.*\(5, 2\), 5 values not"),
        (
            {"embeddings": {"a": np.ones(5)}},
            r"`embeddings` must be finite, of shape \[items, dim\].*shape \(5,\), 0 val",
        ),
        (
            {"embeddings": {}, "titles": [], "categories": [], "photos": []},
            f"`photos` must be from 1 to {MOST_ITEMS}. Received: 0; take a sample",
        ),
        (
            {
                "embeddings": {"a": np.zeros((MOST_ITEMS + 1, 1))},
                **{name: [""] * (MOST_ITEMS + 1) for name in ("titles", "categories", "photos")},
            },
            f"`photos` must be from 1 to {MOST_ITEMS}. Received: {MOST_ITEMS + 1}; take a sample",
        ),
    ],
)
def test_bad_input(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "projector", **changes)
    assert not any(tmp_path.iterdir())
