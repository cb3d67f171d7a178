"""A click model that goes on from an earlier run's: its weights, its columns, and what is refused."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.data.feature_statistics import FeatureStatistics
from mim_tf.data.record_files import RecordFiles
from mim_tf.data.record_schema import TRAIN, RecordSchema
from mim_tf.errors import DataError, StageError
from mim_tf.settings import Settings, dump_settings, load_settings
from mim_tf.training.earlier_run import EarlierRun, network_statistics, training_records, weights_path
from mim_tf.training.rankers import VARIANTS, build_ranker
from mim_tf.training.stages import check_early, run_stage
from mim_tf.workdir import StageFolder
from tests.conftest import LEGACY
from tests.training.toy_ranking import make_workdir

if LEGACY:  # TFRS refuses Keras 3
    from mim_tf.training import rank

pytestmark = pytest.mark.legacy_keras


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two prepared days; the first has a click model of drawn weights, the second other titles in its statistics."""
    folder = tmp_path_factory.mktemp("days")
    settings = make_workdir(folder / "1", seeds=2)
    shutil.copytree(folder / "1", folder / "2")
    statistics = folder / "2" / "prepare" / "records" / "features.json"
    held = json.loads(statistics.read_text())
    held["items"]["title"]["vocabulary"] = [f"other {word}" for word in held["items"]["title"]["vocabulary"]]
    statistics.write_text(json.dumps(held))
    draw_weights(settings, folder / "1")
    return folder


def draw_weights(settings: Settings, workdir: Path) -> None:
    """What a finished `rank` stage leaves, as far as it is handed over."""
    stage = StageFolder(workdir, "rank")
    with stage.begin(settings):
        for seed in range(settings.rank.seeds):
            for variant in VARIANTS:
                tf.keras.utils.set_random_seed(10 + seed)
                ranker = build_ranker(settings, workdir, variant)
                ranker.checkpoint().write(str(weights_path(stage, variant, seed)))
        stage.finish({"seconds": 1.0})


def settings_of(days: Path, *changes: str) -> Settings:
    """Those of the second day."""
    return load_settings(days / "1" / "run.yaml", [f"rank.start_from={days / '1'}", *changes])


def weights(ranker: Any) -> list[np.ndarray]:
    return [variable.numpy() for variable in ranker.network.variables]


def saved_arrays(workdir: Path, variant: str, seed: int) -> list[np.ndarray]:
    """The arrays of a checkpoint, read without any model."""
    reader = tf.train.load_checkpoint(str(weights_path(StageFolder(workdir, "rank"), variant, seed)))
    shapes = reader.get_variable_to_shape_map()
    return [reader.get_tensor(name) for name in shapes if name.startswith("network/") and "VARIABLE_VALUE" in name]


def same_arrays(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    """Whether two lists hold the same arrays, in any order."""
    contents = [sorted((array.shape, array.tobytes()) for array in arrays) for arrays in (some, others)]
    return contents[0] == contents[1]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_training_begins_with_its_own_of_the_day_before(days: Path, variant: str, seed: int) -> None:
    ranker = build_ranker(settings_of(days), days / "2", variant)
    before = saved_arrays(days / "1", variant, seed)
    assert not same_arrays(weights(ranker), before)
    EarlierRun(days / "1").hand_over(ranker, variant, seed)
    assert same_arrays(weights(ranker), before)


def test_columns_are_built_as_they_were_learnt(days: Path) -> None:
    first, second = (FeatureStatistics.load(days / day / "prepare" / "records").items["title"] for day in "12")
    assert first.vocabulary != second.vocabulary
    settings = settings_of(days)
    assert network_statistics(settings, days / "2").items["title"] == first
    layer = build_ranker(settings, days / "2", "model").network.item_features["title"]
    assert tuple(layer.vocabulary) == first.vocabulary[:5]
    alone = load_settings(days / "1" / "run.yaml")
    assert network_statistics(alone, days / "2").items["title"] == second


@pytest.mark.slow
def test_a_chain_of_days_needs_the_last_one_alone(days: Path, tmp_path: Path) -> None:
    """A rate too small for any weight to move by more than 1e-20 shows through the whole stage what it began with."""
    still = ("rank.learning_rate=1e-30", "rank.epochs=1", "rank.seeds=1", f"rank.replay={{{days / '1'}: 0.5}}")
    chain = [tmp_path / day for day in ("1", "2", "3")]
    for day, workdir in zip("122", chain, strict=True):
        shutil.copytree(days / day, workdir)
    for earlier, workdir in itertools.pairwise(chain):
        settings = load_settings(chain[-1] / "run.yaml", [f"rank.start_from={earlier}", *still])
        with StageFolder(workdir, "rank").begin(settings):
            StageFolder(workdir, "rank").finish(rank.run(settings, workdir))
        shutil.rmtree(earlier)
    trained, begun = rank.load_ranker(settings, chain[-1], "model"), build_ranker(settings, chain[-1], "model")
    EarlierRun(days / "1").hand_over(begun, "model", 0)
    for after, before in zip(weights(trained), weights(begun), strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-20)
    first = FeatureStatistics.load(days / "1" / "prepare" / "records").items["title"]
    assert tuple(trained.network.item_features["title"].vocabulary) == first.vocabulary[:5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("rank.ubm=din", r"rank\.ubm was 'sim', now 'din'"),
        ("rank.tower_units=[9]", r"rank\.tower_units was \[8\], now \[9\]"),
        ("rank.features.title.dim=3", r"rank\.features\.title\.dim was 2, now 3"),
        ("rank.negatives_kept=0.5", r"rank\.negatives_kept was 1\.0, now 0\.5"),
        ("rank.seeds=3", r"rank\.seeds was 2, now 3"),
        ("data.item_features=[title,category]", r"data\.item_features was \['title'\], now \['title', 'category'\]"),
    ],
)
def test_another_network_is_refused_by_name(days: Path, change: str, said: str) -> None:
    with pytest.raises(StageError, match=rf"`rank\.start_from` must be a run of the same click model\. .*{said}\."):
        EarlierRun(days / "1").check(settings_of(days, change), days / "2")


def test_what_a_day_may_choose(days: Path) -> None:
    own = ("rank.epochs=1", "rank.learning_rate=0.001", "rank.warmup=0.1", "rank.dropout=0.5", "rank.seeds=1")
    EarlierRun(days / "1").check(settings_of(days, *own), days / "2")


def test_embeddings_of_another_encoder_are_refused(days: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "other"
    shutil.copytree(days / "2", workdir)
    (workdir / "represent" / "fingerprint.txt").write_text("another\n")
    with pytest.raises(StageError, match=r"`represent\.encoder` must be the encoder of `rank\.start_from`, .*item_enc"):
        EarlierRun(days / "1").check(settings_of(days), workdir)
    without = settings_of(days, "rank.content=false", "rank.fusion=false")
    with pytest.raises(StageError, match=r"rank\.content was True, now False; rank\.fusion was True, now False\."):
        EarlierRun(days / "1").check(without, workdir)


def test_an_unfinished_run_is_named_with_its_command(days: Path) -> None:
    command = rf"python -m mim_tf\.train --stage rank --workdir {days / '2'}"
    with pytest.raises(StageError, match=rf"`rank\.start_from` must be .* finished\. Received: .*{command}"):
        EarlierRun(days / "2")


def test_another_run_of_yesterday_is_refused(days: Path, tmp_path: Path) -> None:
    yesterday, today = tmp_path / "1", tmp_path / "2"
    for day, workdir in (("1", yesterday), ("2", today)):
        shutil.copytree(days / day, workdir)
    settings = load_settings(days / "1" / "run.yaml", [f"rank.start_from={yesterday}"])
    (today / "run.yaml").write_text(dump_settings(settings))
    with StageFolder(today, "rank").begin(settings):
        (today / "rank" / "checkpoints").mkdir()
    StageFolder(today, "rank").check(settings)
    StageFolder(yesterday, "rank").finish({"seconds": 2.0})
    with pytest.raises(StageError, match=rf"rank was made from an earlier run of {yesterday / 'rank'}\. Delete"):
        StageFolder(today, "rank").check(settings)
    shutil.rmtree(yesterday)
    with StageFolder(today, "rank").begin(settings):  # deleted since: what was noted of it stays
        pass
    draw_again(yesterday)
    with pytest.raises(StageError, match=rf"rank was made from an earlier run of {yesterday / 'rank'}"):
        StageFolder(today, "rank").check(settings)


def test_days_are_mixed_by_the_share_that_is_wanted(days: Path) -> None:
    first, second = (RecordSchema.load(days / day / "prepare" / "records") for day in "12")
    settings = settings_of(days, f"rank.replay={{{days / '1'}: 0.5}}")
    for seed in (0, 1):
        mixed = training_records(settings, days / "2", seed)
        shards = RecordFiles.open(mixed, [TRAIN], context=None, verify=True).shards
        assert shards[:2] == second.shards[TRAIN]
        assert len(shards) == 3  # one of two
        assert shards[2] in first.shards[TRAIN]
    assert training_records(settings_of(days), days / "2", 0) == days / "2" / "prepare" / "records"


def test_a_day_that_is_not_prepared_is_named_with_its_command(days: Path, tmp_path: Path) -> None:
    settings = settings_of(days, f"rank.replay={{{tmp_path}: 1}}")
    with pytest.raises(
        StageError, match=rf"`rank\.replay` must name .*python -m mim_tf\.prepare --workdir {tmp_path} "
    ):
        training_records(settings, days / "2", 0)


def test_a_mistyped_day_leaves_the_folder_to_the_mended_settings(days: Path, tmp_path: Path) -> None:
    workdir, other = tmp_path / "2", tmp_path / "other"
    for copy in (workdir, other):
        shutil.copytree(days / "2", copy)
    schema = other / "prepare" / "records" / "schema.json"
    schema.write_text(json.dumps({**json.loads(schema.read_text()), "history_length": 99}))
    for replayed, error in ((tmp_path / "nowhere", StageError), (other, DataError)):
        settings = load_settings(days / "1" / "run.yaml", [f"rank.replay={{{replayed}: 0.5}}"])
        with pytest.raises(error, match=r"`rank\.replay` must"):
            run_stage("rank", settings, workdir, "")
        StageFolder(workdir, "rank").check(load_settings(days / "1" / "run.yaml"))


def test_days_that_do_not_serve_are_refused_before_the_first_stage(
    days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mim_tf.training.stages.set_keras_mode", lambda **_: None)  # the test's own stays
    replay = f"rank.replay={{{days / '1'}: 0.5}}"
    check_early(settings_of(days, replay))
    for change, said in (
        (
            f"rank.start_from={days / '2'}",
            r"`rank\.start_from` must be the workdir of a run whose rank stage is finished",
        ),
        ("rank.tower_units=[9]", r"`rank\.start_from` must be a run of the same click model"),
        (f"rank.replay={{{tmp_path}: 1}}", r"`rank\.replay` must name workdirs of runs that are prepared"),
    ):
        with pytest.raises(StageError, match=said):
            check_early(settings_of(days, replay, change))


def test_statistics_that_a_killed_run_left_half_written_are_not_read(days: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "2"
    shutil.copytree(days / "2", workdir)
    settings = settings_of(days)
    (workdir / "rank").mkdir()
    (workdir / "rank" / "features.json").write_text('{"items": {"ti')
    expected = network_statistics(settings, days / "2")
    assert network_statistics(settings, workdir) == expected
    expected.save(str(workdir / "rank"))
    StageFolder(workdir, "rank").finish({"seconds": 1.0})
    assert network_statistics(load_settings(days / "1" / "run.yaml"), workdir) == expected


def draw_again(workdir: Path) -> None:
    (workdir / "rank").mkdir(parents=True)
    StageFolder(workdir, "rank").finish({"seconds": 3.0})
