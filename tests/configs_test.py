"""Every file in configs/ is read, and its models are built and stepped once; those of stage 1 by the stage itself."""

from pathlib import Path

import pytest
import tensorflow as tf

from mim_tf.data.column_statistics import ColumnStatistics
from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.data.feature_statistics import FeatureStatistics
from mim_tf.data.record_schema import RecordSchema
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.settings import Settings, load_settings
from mim_tf.training import prepare, pretrain
from mim_tf.training.csft import csft_model
from mim_tf.training.models import build_encoders, load_encoders, write_vocabulary
from mim_tf.training.rankers import VARIANTS, build_network, one_row
from mim_tf.workdir import StageFolder
from tests.finetuning import toy_csft

FOLDER = Path(__file__).parent.parent / "configs"
CONFIGS, PRETRAINING = sorted(FOLDER.glob("*.yaml")), sorted((FOLDER / "pretrain").glob("*.yaml"))
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_models_of_a_config_take_a_step(path: Path, tmp_path: Path) -> None:
    settings = load_settings(path, ["csft.batch_size=2"])
    skip_without_weights(settings)
    stage = StageFolder(tmp_path, "prepare")
    stage.path.mkdir()
    write_vocabulary(stage, VOCABULARY)
    images, titles = build_encoders(settings.encoders, stage)
    options, dim = settings.csft, settings.encoders.dim
    items = ItemEncoder(images, titles, options.fusion_units, dim, options.fusion)
    photos = tf.cast(tf.random.uniform([2, 3, images.image_size, images.image_size, 3], maxval=256), tf.uint8)
    token_ids = tf.reshape(titles.tokenize(tf.constant(["a", "b", "a b", "b a"])), [2, 2, -1])
    model = csft_model(items, settings, toy_csft.negatives, 3, (photos[:, 0], token_ids[:, 0]))
    batch = {
        "images": photos,
        "token_ids": token_ids,
        "items": tf.constant([[0, 2], [1, 3]], tf.int64),
        "query_item": tf.fill([2], tf.constant(-1, tf.int64)),
        "category": tf.constant([0, 1], tf.int64),
        "fallback": tf.zeros([2]),
    }
    with tf.GradientTape() as tape:
        loss = model.losses_of(batch)["loss"]
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    assert tf.math.is_finite(loss)

    check_rank(settings)


def check_rank(settings: Settings) -> None:
    """Build the click models of a config, as for a shop whose features are strings, and take gradients."""
    columns = [f"{prefix}_{name}" for name in settings.data.item_features for prefix in ("item", "history")]
    fields = dict.fromkeys([*columns, *settings.data.impression_features], "string")
    schema = RecordSchema("int64", "int64", 50, {}, {}, {**fields, "item_age": "int64"})
    names = ColumnStatistics("string", 2, 0.0, 0.0, (), ("a", "b"), (1, 1))
    statistics = FeatureStatistics(
        dict.fromkeys(settings.data.item_features, names), dict.fromkeys(settings.data.impression_features, names)
    )
    contents = {"item_content": tf.zeros([1, 8]), "history_content": tf.zeros([1, 0, 8])}
    for variant in VARIANTS:
        network = build_network(settings, schema, statistics, variant)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(one_row(schema) | contents, training=True))
        variables = [variable.value for variable in network.trainable_variables]
        assert any(gradient is not None for gradient in tape.gradient(loss, variables))


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shop = tmp_path_factory.mktemp("shop")
    make_demo_shop(shop, items=50, users=10, days=10, searches=10)
    return shop / "items.parquet"


@pytest.mark.slow
@pytest.mark.parametrize("path", PRETRAINING, ids=lambda path: path.stem)
def test_stage_1_of_a_config_runs(path: Path, items: Path, tmp_path: Path) -> None:
    overrides = [f"data.items={items}", "data.held_out=0.2"]
    chosen = load_settings(path).pretrain.model_dump()
    for name, options in chosen.items():
        if isinstance(options, dict):
            overrides += [f"pretrain.{name}.epochs=1", f"pretrain.{name}.batch_size=16"]
            overrides += [f"pretrain.{name}.chunk_size=8"] if options.get("chunk_size") else []
    settings = load_settings(path, overrides)
    skip_without_weights(settings)
    StageFolder(tmp_path, "prepare").path.mkdir()
    StageFolder(tmp_path, "prepare").finish(prepare.run(settings, tmp_path))
    metrics = pretrain.run(settings, tmp_path)
    trained = {name for name, options in chosen.items() if isinstance(options, dict)}
    assert {f"{name}_held_out_loss" for name in trained - {"image_text"}} <= set(metrics)
    assert ("image_text_held_out_text_to_image_recall_at_10" in metrics) == ("image_text" in trained)
    vision, text = load_encoders(StageFolder(tmp_path, "pretrain"), settings.encoders.precision)
    assert vision.dim == text.dim == settings.encoders.dim


def skip_without_weights(settings: Settings) -> None:
    for weights in (settings.encoders.vision.weights, settings.encoders.text.weights):
        if weights and not Path(weights).exists():
            pytest.skip(f"{weights} is not installed")
