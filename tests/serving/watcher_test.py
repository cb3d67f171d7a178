"""What the watcher does when it looks at the folder: without a thread, look by look."""

import logging
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from mim_tf.serving import watcher as watcher_module
from mim_tf.serving.models import Models
from mim_tf.serving.servable import Servable
from mim_tf.serving.watcher import Watcher
from tests.serving.publishing import publish, wait_until

State = get_model_status_pb2.ModelVersionStatus.State
OLD, NEW = [1.0, 2.0], [100.0, 200.0]  # the embedding of item 7
SPEC = model_pb2.ModelSpec(name="ranker")


@pytest.fixture
def served(folder: Path) -> Models:
    return Models(folder.parent)


@pytest.fixture
def watcher(served: Models) -> Watcher:
    return Watcher(served, 0.01)


def embedding(served: Models) -> list[float]:
    """What is answered for item 7."""
    inputs = {"item_id": tf.make_tensor_proto(np.array([7]))}
    return tf.make_ndarray(served.find(SPEC).predict("lookup", inputs)["embedding"])[0].tolist()


def states(served: Models) -> dict[int, str]:
    statuses = served.current["ranker"].statuses
    return {version: State.Name(status.state) for version, status in statuses.items()}


def test_a_higher_version_takes_its_place(served: Models, watcher: Watcher, folder: Path, new: Path) -> None:
    publish(new, folder / "2")
    assert embedding(served) == OLD
    watcher.look()
    assert embedding(served) == NEW
    assert states(served) == {1: "END", 2: "AVAILABLE"}


def test_what_has_not_changed_is_not_loaded_again(served: Models, watcher: Watcher, folder: Path, new: Path) -> None:
    publish(new, folder / "0")  # lower than what is served
    before = served.current["ranker"]
    watcher.look()
    assert served.current["ranker"] is before


def test_a_version_under_another_name_is_not_looked_at(served: Models, watcher: Watcher, folder: Path) -> None:
    (folder / "2.tmp").mkdir()
    watcher.look()
    assert states(served) == {1: "AVAILABLE"}


def test_the_version_before_answers_while_the_next_is_loaded(
    served: Models, watcher: Watcher, folder: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def load(name: str, version: int, path: Path) -> Servable:
        seen.append((states(served), embedding(served)))
        return Servable(name, version, path)

    monkeypatch.setattr(watcher_module, "Servable", load)
    publish(new, folder / "2")
    watcher.look()
    assert seen == [({1: "AVAILABLE", 2: "LOADING"}, OLD)]


def test_a_version_that_fails_leaves_the_one_before(
    served: Models, watcher: Watcher, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "2").mkdir()
    for _ in range(3):
        watcher.look()
    assert embedding(served) == OLD
    assert states(served) == {1: "AVAILABLE", 2: "END"}
    assert served.current["ranker"].statuses[2].status.error_code == 5  # NOT_FOUND
    assert 'model "ranker" version 2 cannot be' in served.current["ranker"].statuses[2].status.error_message
    (line,) = [record.getMessage() for record in caplog.records]  # it is tried once
    assert line.startswith('model "ranker" version 2 cannot be loaded from')
    assert line.endswith("What answers stays as it was.")


def test_a_version_that_fails_is_tried_again_when_it_changes(
    served: Models, watcher: Watcher, folder: Path, new: Path
) -> None:
    (folder / "2").mkdir()
    shutil.copy(new / "saved_model.pb", folder / "2")  # copied in place: its variables are not there yet
    watcher.look()
    assert states(served) == {1: "AVAILABLE", 2: "END"}
    shutil.copytree(new / "variables", folder / "2" / "variables")
    watcher.look()
    assert embedding(served) == NEW
    assert states(served) == {1: "END", 2: "AVAILABLE"}


@pytest.mark.parametrize("alone", [False, True])
def test_a_version_that_fails_is_tried_again_when_it_was_away(
    served: Models, watcher: Watcher, folder: Path, caplog: pytest.LogCaptureFixture, alone: bool
) -> None:
    failing = folder / "2"
    failing.mkdir()
    watcher.look()
    aside = failing.rename(folder / "aside")
    if alone:
        shutil.rmtree(folder / "1")
    watcher.look()
    aside.rename(failing)
    watcher.look()
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


def test_a_version_above_a_failed_one_is_served(served: Models, watcher: Watcher, folder: Path, new: Path) -> None:
    (folder / "2").mkdir()
    watcher.look()
    publish(new, folder / "3")
    watcher.look()
    assert embedding(served) == NEW
    assert states(served) == {1: "END", 2: "END", 3: "AVAILABLE"}
    assert served.current["ranker"].statuses[2].status.error_code == 5
    assert served.current["ranker"].statuses[1].status.error_code == 0


def test_of_a_removed_version_the_next_lower_is_served(
    served: Models, watcher: Watcher, folder: Path, old: Path, new: Path
) -> None:
    publish(new, folder / "2")
    watcher.look()
    shutil.rmtree(folder / "2")
    watcher.look()
    assert embedding(served) == OLD
    assert states(served) == {1: "AVAILABLE", 2: "END"}


def test_a_removed_version_answers_until_the_lower_one_is_loaded(
    served: Models, watcher: Watcher, folder: Path, new: Path
) -> None:
    publish(new, folder / "2")
    watcher.look()
    shutil.rmtree(folder / "2")
    (folder / "1" / "saved_model.pb").write_bytes(b"damaged")
    watcher.look()
    assert embedding(served) == NEW
    assert states(served) == {1: "END", 2: "AVAILABLE"}
    assert served.current["ranker"].statuses[1].status.error_code != 0


def test_without_any_version_nothing_answers_until_there_is_one(
    served: Models, watcher: Watcher, folder: Path, new: Path
) -> None:
    shutil.rmtree(folder / "1")
    watcher.look()
    assert states(served) == {1: "END"}
    with pytest.raises(tf.errors.NotFoundError, match=r"Servable not found for request: Latest\(ranker\)"):
        served.find(SPEC)
    watcher.look()
    publish(new, folder / "2")
    watcher.look()
    assert embedding(served) == NEW


def test_a_model_whose_folder_is_gone_stays(
    served: Models, watcher: Watcher, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(folder)
    for _ in range(3):
        watcher.look()
    assert embedding(served) == OLD
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith('model "ranker": its folder cannot be read, what answers stays as it was: ')


def test_a_model_that_was_not_there_at_the_start_is_not_served(
    served: Models, watcher: Watcher, folder: Path, new: Path
) -> None:
    (folder.parent / "other").mkdir()
    publish(new, folder.parent / "other" / "1")
    watcher.look()
    assert list(served.current) == ["ranker"]


def test_a_version_is_unloaded_when_its_last_request_has_ended(
    served: Models, watcher: Watcher, folder: Path, new: Path
) -> None:
    inputs = {"item_id": tf.make_tensor_proto(np.array([7]))}
    with served.leased(SPEC) as first:
        with served.leased(SPEC) as second:
            assert second is first
            publish(new, folder / "2")
            watcher.look()
        watcher.look()
        assert states(served) == {1: "UNLOADING", 2: "AVAILABLE"}
        assert tf.make_ndarray(first.predict("lookup", inputs)["embedding"])[0].tolist() == OLD
    watcher.look()
    assert states(served) == {1: "END", 2: "AVAILABLE"}
    assert embedding(served) == NEW


def test_a_request_that_failed_is_none_under_way(served: Models, watcher: Watcher, folder: Path, new: Path) -> None:
    inputs = {"path": tf.make_tensor_proto("/nowhere")}
    with pytest.raises(tf.errors.NotFoundError, match="/nowhere"), served.leased(SPEC) as servable:
        servable.predict("read", inputs)
    publish(new, folder / "2")
    watcher.look()
    assert states(served) == {1: "END", 2: "AVAILABLE"}


def test_unloading_leaves_nothing_of_the_model(
    served: Models, watcher: Watcher, folder: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loaded = tf.saved_model.load, []

    def observed(path: str) -> tf.Module:
        model = load(path)
        loaded.append(weakref.ref(model))
        loaded.append(weakref.ref(model.signatures["lookup"]))
        handles.append(model.index.resource_handle)
        return model

    handles: list[tf.Tensor] = []
    monkeypatch.setattr(tf.saved_model, "load", observed)
    for version in (2, 3):
        publish(new, folder / str(version))
        watcher.look()
    assert [reference() is None for reference in loaded] == [True, True, False, False]
    sizes = tf.raw_ops.LookupTableSizeV2
    assert sizes(table_handle=handles[1]) == 2
    with pytest.raises(tf.errors.NotFoundError, match="table"):
        sizes(table_handle=handles[0])


def test_a_version_served_again_is_told_as_available(served: Models, watcher: Watcher, folder: Path, new: Path) -> None:
    with served.leased(SPEC):
        publish(new, folder / "2")
        watcher.look()
        shutil.rmtree(folder / "2")
        watcher.look()
        assert states(served) == {1: "AVAILABLE", 2: "END"}
    watcher.look()  # unloads version 1 as it was loaded first
    assert states(served) == {1: "AVAILABLE", 2: "END"}
    assert embedding(served) == OLD


def test_the_thread_survives_what_it_does_not_expect(
    served: Models,
    watcher: Watcher,
    folder: Path,
    new: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    find, failed = watcher_module.highest_version, []

    def highest_version(path: Path) -> watcher_module.VersionFolder | None:
        if not failed:
            failed.append(path)
            raise RuntimeError("the first look")
        return find(path)

    monkeypatch.setattr(watcher_module, "highest_version", highest_version)
    publish(new, folder / "2")
    watcher.start()
    try:
        wait_until(lambda: states(served) == {1: "END", 2: "AVAILABLE"})
    finally:
        watcher.stop()
    assert "The models folder could not be followed. It is tried again." in caplog.text
    assert "RuntimeError: the first look" in caplog.text
