"""Which items are shown beside each other and why: neighbours, content weights, query photos, samples."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from mim_tf.report.neighbours import neighbours_by_embedding
from mim_tf.report.queries import read_queries
from mim_tf.report.shop_items import ShopItems
from mim_tf.report.users import content_weights
from mim_tf.report.validation_sessions import ShownSession
from mim_tf.representation import EmbeddingStore
from mim_tf.training.catalogue_embeddings import CatalogueEmbeddings
from tests.report.conftest import Run
from tests.report.toy_run import ITEMS


@pytest.fixture(scope="module")
def items(run: Run) -> ShopItems:
    return ShopItems(run.folder / "prepare" / "records")


def test_items_are_found_as_the_shop_has_them(run: Run, items: ShopItems) -> None:
    shop = parquet.read_table(run.folder / "shop" / "items.parquet").to_pylist()
    wanted = [item["item_id"] for item in shop[:7]]
    found = items.find([*wanted, -1, 10**12])
    assert sorted(found) == sorted(wanted)
    for item in shop[:7]:
        assert found[item["item_id"]][1:] == (item["title"], item["category"], item["image"])
    assert items.find([]) == {}


def test_a_sample_is_spread_over_categories(items: ShopItems) -> None:
    rows = items.sample(1000)
    assert sorted(rows.tolist()) == list(range(ITEMS))
    assert items.sample(20).tolist() == rows[:20].tolist()
    known = items.find(items.item_ids.tolist())
    categories = [known[item_id].category for item_id in items.item_ids.tolist()]
    there_are = len(set(categories))
    spread = items.spread(rows, there_are + 2)
    shown = [categories[row] for row in spread]
    assert len(set(shown[:there_are])) == there_are
    sizes = [categories.count(category) for category in shown[:there_are]]
    assert sizes == sorted(sizes, reverse=True)
    assert shown[there_are:] == shown[:2]  # a second one of the largest
    first = [next(row for row in rows if categories[row] == category) for category in shown[:there_are]]
    assert spread[:there_are].tolist() == first


def test_neighbours_are_those_of_a_brute_force_search() -> None:
    rng = np.random.default_rng(0)
    embeddings = CatalogueEmbeddings(np.arange(40), *(rng.normal(size=(40, 3)) for _ in range(3)))
    places = np.array([5, 17])
    found = neighbours_by_embedding(embeddings, places, 4)
    assert list(found) == ["image", "title", "fused, h_MM"]
    for rows, (best, cosines) in zip(embeddings[1:], found.values(), strict=True):
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for number, place in enumerate(places):
            expected = [row for row in np.argsort(-units @ units[place]) if row != place][:4]
            assert best[number].tolist() == expected
            assert cosines[number] == pytest.approx((units @ units[place])[expected])


def test_one_item_has_no_neighbours() -> None:
    alone = CatalogueEmbeddings(np.array([7]), *(np.ones((1, 2)) for _ in range(3)))
    assert [best.shape for best, _ in neighbours_by_embedding(alone, np.array([0]), 0).values()] == [(1, 0)] * 3


def test_content_weights_are_cosines_in_the_order_of_the_history(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path / "s", id_type="int64", dim=2)
    store.upsert(np.array([1, 2, 3]), np.array([[1, 0], [3, 4], [0, -2]]), encoder="e")
    session = ShownSession(9, 0, np.array([3, 1, 3, 77, 2]), np.array([2, 1]), np.array([True, False]), 0)
    # (3, 4) has the length 5; the store has no item 77.
    expected = [[-0.8, 0.6, -0.8, 0, 1], [0, 1, 0, 0, 0.6]]
    np.testing.assert_allclose(content_weights(store, session), expected, atol=1e-6)


def test_queries_are_pairs_of_the_search_log(run: Run, items: ShopItems) -> None:
    pairs = parquet.read_table(run.folder / "shop" / "pairs.parquet").to_pylist()
    logged = {(pair["query_image"], pair["item_id"]) for pair in pairs}
    queries = read_queries(run.folder / "prepare" / "records", items)
    assert {(query.photo, query.chosen) for query in queries} <= logged
    assert {query.own_item for query in queries} == {None}  # photos
    assert 1 < len(queries) == len({query.chosen for query in queries}) <= 8
