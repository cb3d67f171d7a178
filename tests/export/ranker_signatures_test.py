"""The signatures of a served ranker, reloaded, against the ranker in this process; and what they refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.export.saved_model import save_ranker
from mim_tf.interest import UBMS
from mim_tf.ranking import DeepCTR, Ranker, RankingNetwork, Standardised
from mim_tf.representation import EmbeddingTable, StoredEmbeddings

pytestmark = pytest.mark.legacy_keras

DIM, ITEMS = 3, 9
Rows = dict[str, np.ndarray]
Call = Callable[..., Rows]
DTYPES = {name: tf.int64 for name in ("timestamp", "history_timestamp")}
DTYPES |= {name: tf.string for name in ("category", "history_category")}
DTYPES |= {"age": tf.float32, "query_embedding": tf.float32}
TARGETS = ("item_id", "category", "item_content")


class Served:
    """A ranker, and its SavedModel loaded."""

    def __init__(
        self, folder: Path, id_type: str, contents: bool = False, ubm: str = "sim", kept: str = "float16", **parts: bool
    ):
        self.id_type, rng = id_type, np.random.default_rng(0)
        ids = [f"ü{n}" for n in range(ITEMS)] if id_type == "string" else list(range(ITEMS))
        embeddings = rng.normal(size=(ITEMS, DIM)).astype(np.float16)
        items = np.array(ids, object if id_type == "string" else np.int64)
        stored = StoredEmbeddings(items, np.arange(ITEMS), embeddings, "e", 5, store="s", slots=1)
        self.table = EmbeddingTable.of(stored, spare=2, dtype=kept)
        network = RankingNetwork(
            UBMS[ubm](),
            **{"query": True, **parts},
            item_dim=4,
            category_dim=2,
            hash_bins=64,
            impression_features={"age": Standardised(30.0, 10.0)},
            tower=DeepCTR((8,)),
        )
        self.ranker = Ranker(network, self.table, 0.5)
        self.ranker.probabilities(self.tensors(self.rows()))
        network.set_weights([rng.normal(0, 0.4, weight.shape) for weight in network.get_weights()])
        for variable in network.non_trainable_variables:  # variances
            variable.assign(tf.abs(variable))
        served = Ranker(network, None, 0.5) if contents else self.ranker
        dtypes = DTYPES | {name: tf.as_dtype(id_type) for name in ("item_id", "history_item_id")}
        save_ranker(served, folder, dtypes=dtypes, stored=stored, most_pairs=2**14)
        self.signatures = tf.saved_model.load(str(folder)).signatures

    def rows(self) -> Rows:
        """Five impressions: histories of 3, 2, 1, 0 and 3 behaviours, an unknown item and an unknown behaviour."""
        rng = np.random.default_rng(1)
        history, lengths = rng.integers(0, ITEMS, [5, 3]), np.array([[3], [2], [1], [0], [3]])
        history[4, 1] = 99
        real = np.arange(3) < lengths
        return {
            "item_id": self.ids(np.array([0, 1, 77, 3, 4])),
            "category": np.array([b"mug", b"dress", b"mug", b"lamp", "日傘".encode()], object),
            "history_item_id": self.ids(np.where(real, history, -1)),
            "history_category": np.where(real, rng.choice(np.array([b"mug", b"lamp"], object), [5, 3]), b""),
            "history_timestamp": np.where(real, rng.integers(0, 10**6, [5, 3]), 0),
            "timestamp": np.full(5, 2 * 10**6),
            "age": np.array([20, 30, 40, 50, 60], np.float32),
            "query_embedding": rng.normal(size=(5, DIM)).astype(np.float32),
        }

    def ids(self, numbers: np.ndarray) -> np.ndarray:
        if self.id_type == "int64":
            return numbers
        names = [b"" if n == -1 else f"ü{n}".encode() for n in numbers.ravel()]
        return np.array([*names, None], object)[:-1].reshape(numbers.shape)

    @property
    def padding(self) -> Any:
        return -1 if self.id_type == "int64" else b""

    def tensors(self, rows: Rows) -> dict[str, tf.Tensor]:
        return {name: tf.constant(values) for name, values in rows.items()}

    def expected(self, rows: Rows) -> np.ndarray:
        return self.ranker.probabilities(self.tensors(rows)).numpy()

    def __call__(self, signature: str, **request: np.ndarray) -> Rows:
        """The answer of the SavedModel; contents are added to the request where it takes them."""
        kinds = {"item_content": "item_id", "history_content": "history_item_id"}
        inputs = self.signatures[signature].structured_input_signature[1]
        contents = {name: self.table.lookup(tf.constant(request[ids])) for name, ids in kinds.items() if name in inputs}
        known = {name: values for name, values in self.tensors(request).items() if name in inputs}
        answer = self.signatures[signature](**known, **contents)
        return {name: values.numpy() for name, values in answer.items()}


KINDS = {
    "int64": {"id_type": "int64"},
    "string, int8": {"id_type": "string", "kept": "int8"},
    "int64, contents given": {"id_type": "int64", "contents": True},
    "string, contents given": {"id_type": "string", "contents": True},
    "DIN, fusion alone": {"id_type": "int64", "ubm": "din", "content": False, "query": False},
    "DIEN, content alone": {"id_type": "int64", "ubm": "dien", "fusion": False},
    "BST, contents given for the query": {
        "id_type": "int64",
        "ubm": "bst",
        "contents": True,
        "content": False,
        "fusion": False,
    },
    "no content": {"id_type": "string", "ubm": "average", "content": False, "fusion": False, "query": False},
}
QUICK = ("int64", "string, contents given")  # each of them is saved and loaded with all its signatures


@pytest.fixture(
    scope="module", params=[kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(tmp_path_factory.mktemp("model"), **KINDS[request.param])


@pytest.fixture
def with_states(served: Served) -> Served:
    if "user_state" not in served.signatures:
        pytest.skip("without content and fusion interest there is nothing to sum up")
    return served


def flat(rows: Rows) -> Rows:
    """Histories without their padding, one after the other."""
    real = rows["history_item_id"] != (b"" if rows["history_item_id"].dtype == object else -1)
    return (
        rows
        | {name: rows[name][real] for name in rows if name.startswith("history_")}
        | {"history_length": real.sum(axis=1)}
    )


def ranking(served: Served, users: list[int], top_k: int = 2) -> tuple[Rows, np.ndarray]:
    """A request of some rows' users for the items of all rows, with padding between them, and its probabilities."""
    rows = served.rows()
    targets = {
        name: np.insert(rows[name], 2, served.padding if name == "item_id" else b"", axis=0) for name in TARGETS[:2]
    }
    request = {name: rows[name][users] for name in rows if name not in targets}
    request |= {name: np.stack([values] * len(users)) for name, values in targets.items()}
    folded = {name: np.repeat(rows[name][users], 5, axis=0) for name in rows if name not in targets}
    folded |= {name: np.concatenate([rows[name]] * len(users)) for name in targets}
    scores = np.insert(served.expected(folded).reshape(len(users), 5), 2, 0, axis=1)
    return request | {"top_k": np.full(len(users), top_k)}, scores


def states_of(served: Served, users: int) -> Rows:
    specs = served.signatures["user_state"].structured_input_signature[1]
    names = ("state_content", "state_fusion")
    zeros = {name: np.zeros([users, *specs[name].shape[1:]]) for name in names}
    return zeros | {"state_model": np.array([b""] * users, object)}


def test_rows(served: Served) -> None:
    rows = served.rows()
    for signature in ("predict", "serving_default"):
        np.testing.assert_allclose(served(signature, **rows)["probability"], served.expected(rows), rtol=1e-6)
    np.testing.assert_allclose(served("predict_ragged", **flat(rows))["probability"], served.expected(rows), rtol=1e-6)


def test_no_rows_and_no_behaviours(served: Served) -> None:
    none = {name: values[:0] for name, values in served.rows().items()}
    assert served("predict", **none)["probability"].shape == (0,)
    assert served("predict_ragged", **flat(none))["probability"].shape == (0,)
    rows = served.rows()
    without = {name: values[3:4, :0] if name.startswith("history_") else values[3:4] for name, values in rows.items()}
    np.testing.assert_allclose(served("predict", **without)["probability"], served.expected(rows)[3:4], rtol=1e-6)
    request, _ = ranking(served, [0])
    nothing = request | {name: request[name][:, :0] for name in TARGETS[:2]}
    assert served("rank", **nothing)["top_item_id"].shape == (1, 0)


@pytest.mark.parametrize("users", [[0], [3], [0, 3, 4]])
def test_candidates_of_users(served: Served, users: list[int]) -> None:
    """Alike for those without a history, and beside others."""
    request, scores = ranking(served, users)
    order = np.argsort(-scores, axis=1)[:, :2]
    for answer in (served("rank", **request), served("rank_ragged", **flat(request))):
        np.testing.assert_allclose(answer["probability"], scores, rtol=1e-5)
        np.testing.assert_allclose(answer["top_probability"], np.take_along_axis(scores, order, axis=1), rtol=1e-5)
        np.testing.assert_array_equal(answer["top_item_id"], np.take_along_axis(request["item_id"], order, axis=1))


def test_padding_is_never_among_the_best_but_where_nothing_else_is_left(served: Served) -> None:
    request, scores = ranking(served, [0, 1], top_k=100)
    request["top_k"][0] = -1  # the largest counts
    answer = served("rank", **request)
    assert (answer["probability"][:, 2] == 0).all()
    np.testing.assert_allclose(answer["top_probability"], -np.sort(-scores, axis=1), rtol=1e-5)
    assert (answer["top_item_id"][:, -1] == served.padding).all()
    assert (answer["top_probability"][:, -1] == 0).all()
    assert served("rank", **request | {"top_k": np.array([0, -5])})["top_item_id"].shape == (2, 0)


def test_a_state_summed_up_in_pieces_ranks_as_the_whole_history(with_states: Served) -> None:
    served = with_states
    request, scores = ranking(served, [0, 1, 3])
    inputs = served.signatures["user_state"].structured_input_signature[1]
    histories = {name: request[name] for name in request if name in inputs}
    state = states_of(served, 3)
    for piece in (slice(0, 2), slice(2, 3)):
        state = served("user_state", **{name: values[:, piece] for name, values in histories.items()}, **state)
    answer = served("rank_with_state", **request, **state)
    np.testing.assert_allclose(answer["probability"], scores, rtol=1e-5)
    # Content and fusion interest come from the state: the history feeds the ID interest alone.
    other = served("rank_with_state", **request, **states_of(served, 3))["probability"]
    assert np.abs(other - scores)[0, [0, 1, 4]].min() > 1e-6


def test_a_state_of_another_model_is_refused(with_states: Served) -> None:
    served = with_states
    request, _ = ranking(served, [0])
    state = states_of(served, 1) | {"state_model": np.array([b"another"], object)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)`state_model` must be [0-9a-f]{16}, .*another"):
        served("rank_with_state", **request, **state)
    begun = states_of(served, 1)
    begun["state_content"][0, 0, 0] = 1
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"or empty beside a state of zeros"):
        served("rank_with_state", **request, **begun)
    inputs = served.signatures["user_state"].structured_input_signature[1]
    histories = {name: request[name] for name in request if name in inputs}
    spoilt = served("user_state", **histories, **states_of(served, 1))
    spoilt["state_content"][0, 0, 0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`state_content` must be finite"):
        served("rank_with_state", **request, **spoilt)


@pytest.mark.parametrize(
    ("signature", "change", "match"),
    [
        ("predict", lambda rows: {"category": rows["category"][:4]}, r"`category` must have as many .* `item_id`"),
        ("predict", lambda rows: {"age": rows["age"][:4]}, r"`age` must have as many entries"),
        ("predict", lambda rows: {"history_timestamp": rows["history_timestamp"][:, :2]}, r"`history_timestamp` must"),
        ("predict", lambda rows: {"age": rows["age"] * np.float32("nan")}, r"`age` must be finite"),
        (
            "predict",
            lambda rows: {"query_embedding": rows["query_embedding"] / np.float32(0)},
            r"_embedding` must be f",
        ),
        (
            "predict_ragged",
            lambda rows: {"history_length": rows["history_length"] - 1},
            r"`history_length` must be 0 or",
        ),
        (
            "predict_ragged",
            lambda rows: {"history_length": np.array([-1, 3, 3, 2, 2])},
            r"`history_length` must be 0 or",
        ),
        ("predict_ragged", lambda rows: {"history_category": rows["history_category"][1:]}, r"`history_category` must"),
        ("rank", lambda rows: {"category": rows["category"][:, 1:]}, r"`category` must have as many .* `item_id`"),
        ("rank", lambda rows: {"top_k": np.array([1, 1])}, r"`top_k` must have as many entries"),
        ("rank", lambda rows: {"timestamp": np.array([1, 1])}, r"`timestamp` must have as many entries"),
    ],
)
def test_what_does_not_fit_is_refused(served: Served, signature: str, change: Any, match: str) -> None:
    request = ranking(served, [0])[0] if signature == "rank" else served.rows()
    request = flat(request) if signature.endswith("ragged") else request
    with np.errstate(divide="ignore", invalid="ignore"):
        changed = change(request)
    if not set(changed) & set(served.signatures[signature].structured_input_signature[1]):
        pytest.skip("not an input of this one")
    with pytest.raises(tf.errors.InvalidArgumentError, match=match):
        served(signature, **request | changed)


def test_a_small_request_for_a_huge_product_is_refused(served: Served) -> None:
    """129 rows, one of which has 128 behaviours: 257 numbers a column that would be padded to 129 times 128 places."""
    rows = {name: np.repeat(values[:1], 129, axis=0) for name, values in served.rows().items()}
    lengths = np.array([128, *[0] * 128])
    long = {name: np.repeat(rows[name][0, :1], 128) for name in rows if name.startswith("history_")}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"at most 16384 pairs of candidate and behaviour"):
        served("predict_ragged", **rows | long, history_length=lengths)
    request, _ = ranking(served, [0])
    wide = request | {name: np.repeat(request[name], 1000, axis=1) for name in TARGETS[:2]}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"at most 16384 pairs of candidate and behaviour"):
        served("rank", **wide)
    if "user_state" in served.signatures:
        histories = {name: np.repeat(request[name], 6000, axis=1) for name in request if name.startswith("history_")}
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"at most 16384 pairs of candidate and behaviour"):
            served("user_state", **histories, **states_of(served, 1))


def test_as_many_of_the_best_as_there_are_however_many_are_wanted(served: Served) -> None:
    request, scores = ranking(served, [0])
    for wanted in (6, 2**31, 2**32 + 3, 2**63 - 1):
        assert served("rank", **request | {"top_k": np.array([wanted])})["top_item_id"].shape == scores.shape


def test_servers_can_join_requests(served: Served) -> None:
    """All but flat histories: every input and output begins with the batch."""
    for name, signature in served.signatures.items():
        for spec in [*signature.structured_input_signature[1].values(), *signature.structured_outputs.values()]:
            assert spec.shape.rank, name
            assert spec.shape[0] is None, name
