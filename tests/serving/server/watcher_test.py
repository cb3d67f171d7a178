"""What the watcher does when it looks at the folder: without a thread, look by look."""

import logging
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from mim_tf.errors import ServingError
from mim_tf.serving.server import ModelConfigFile, model_config
from mim_tf.serving.server.model_config import find_models
from mim_tf.serving.server.models import Models
from mim_tf.serving.server.servable import Servable
from mim_tf.serving.server.version_folders import VersionFolder
from mim_tf.serving.server.watcher import Watcher
from tests.serving.publishing import bring_along, exists, publish, wait_until, warmup_record

State = get_model_status_pb2.ModelVersionStatus.State
OLD, NEW = [1.0, 2.0], [100.0, 200.0]  # the embedding of item 7
SPEC = model_pb2.ModelSpec(name="ranker")


@pytest.fixture
def served(folder: Path) -> Models:
    return Models(find_models(folder.parent))


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

    def load(name: str, found: VersionFolder) -> Servable:
        seen.append((states(served), embedding(served)))
        return Servable(name, *found)

    monkeypatch.setattr(served, "load", load)
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
    find, failed = model_config.find_versions, []

    def find_versions(path: Path) -> dict[int, VersionFolder]:
        if not failed:
            failed.append(path)
            raise RuntimeError("the first look")
        return find(path)

    monkeypatch.setattr(model_config, "find_versions", find_versions)
    publish(new, folder / "2")
    watcher.start()
    try:
        wait_until(lambda: states(served) == {1: "END", 2: "AVAILABLE"})
    finally:
        watcher.stop()
    assert "The models could not be followed. It is tried again." in caplog.text
    assert "RuntimeError: the first look" in caplog.text


def test_a_version_that_refuses_its_warm_up_is_not_served(
    served: Models, watcher: Watcher, folder: Path, new: Path
) -> None:
    aside = publish(new, folder / "aside")
    bring_along(aside, warmup_record("lookup", item_id=np.array([7])), warmup_record("rank"))
    aside.rename(folder / "2")
    watcher.look()
    assert embedding(served) == OLD
    assert states(served) == {1: "AVAILABLE", 2: "END"}
    status = served.current["ranker"].statuses[2].status
    assert status.error_code == 9  # FAILED_PRECONDITION
    assert "warm-up record 2 failed" in status.error_message


def test_a_version_that_refuses_its_warm_up_leaves_no_table(
    served: Models, watcher: Watcher, folder: Path, new: Path, tables: list[tf.Tensor]
) -> None:
    aside = publish(new, folder / "aside")
    bring_along(aside, warmup_record("rank"))
    aside.rename(folder / "2")
    watcher.look()
    assert states(served) == {1: "AVAILABLE", 2: "END"}
    assert [exists(table) for table in tables] == [False]
    assert embedding(served) == OLD


class ConfiguredModels:
    """Models by a configuration file, and the watcher that follows it."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self.file = ModelConfigFile(path)

    def write(self, *policies: str, names: str = "abcd") -> None:
        """Configures a model by each policy, all of the same folder."""
        models = zip(names, policies, strict=False)
        config = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" {} }}'
        texts = [config.format(name, self._folder, policy) for name, policy in models]
        self._path.write_text("model_config_list { " + " ".join(texts) + " }")

    def serve(self) -> tuple[Models, Watcher]:
        models = Models(self.file.read())
        return models, Watcher(models, 0.01, self.file)


@pytest.fixture
def configured(folder: Path, new: Path, tmp_path: Path) -> ConfiguredModels:
    """Of a folder with version 1, where item 7 has the embedding (1, 2), and version 2, where it has (100, 200)."""
    publish(new, folder / "2")
    return ConfiguredModels(tmp_path / "models.config", folder)


def asked(models: Models, spec: str) -> list[float]:
    """What is answered for item 7 by the model "a", given the rest of a ModelSpec."""
    found = models.find(text_format.Parse(f'name: "a" {spec}', model_pb2.ModelSpec()))
    inputs = {"item_id": tf.make_tensor_proto(np.array([7]))}
    return tf.make_ndarray(found.predict("lookup", inputs)["embedding"])[0].tolist()


ALL = "model_version_policy { all {} } "
STABLE_1 = 'version_labels { key: "stable" value: 1 } '
STABLE_2 = 'version_labels { key: "stable" value: 2 } '
STABLE_3 = 'version_labels { key: "stable" value: 3 } '


def test_versions_beside_each_other_are_asked_for_by_number_and_label(configured: ConfiguredModels) -> None:
    configured.write(ALL + STABLE_1 + 'version_labels { key: "canary" value: 2 }')
    models, _ = configured.serve()
    assert asked(models, "version { value: 1 }") == asked(models, 'version_label: "stable"') == OLD
    assert asked(models, "version { value: 2 }") == asked(models, 'version_label: "canary"') == asked(models, "") == NEW


@pytest.mark.parametrize("label", ["nightly", "../stable", "stable\\000", "/etc/passwd", ""])
def test_a_label_that_there_is_not_is_refused(configured: ConfiguredModels, label: str) -> None:
    configured.write(ALL + STABLE_1)
    models, _ = configured.serve()
    with pytest.raises(tf.errors.InvalidArgumentError, match="Unrecognized servable version label: "):
        asked(models, f'version_label: "{label}"')


def test_a_label_moves_when_the_file_says_so(configured: ConfiguredModels) -> None:
    configured.write(ALL + STABLE_1)
    models, watcher = configured.serve()
    configured.write(ALL + STABLE_2)
    watcher.look()
    assert asked(models, 'version_label: "stable"') == NEW


def test_a_label_moves_before_the_version_that_it_leaves_is_dropped(
    configured: ConfiguredModels, folder: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked while another model, `b`, is loaded: that of `a` has gone from version 2 to 3 by then."""
    configured.write(STABLE_2)
    models, watcher = configured.serve()
    publish(old, folder / "3")
    configured.write(STABLE_3, STABLE_3)
    load, seen = models.load, []

    def observed(name: str, found: VersionFolder) -> Servable:
        if name == "b":
            seen.append((sorted(models.current["a"].servables), asked(models, 'version_label: "stable"')))
        return load(name, found)

    monkeypatch.setattr(models, "load", observed)
    watcher.look()
    assert seen == [([3], OLD)]


def test_a_label_of_a_version_that_is_not_available_is_refused_until_it_is(
    configured: ConfiguredModels, folder: Path, old: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configured.write(ALL + STABLE_2)
    models, watcher = configured.serve()
    configured.write(ALL + STABLE_3 + 'version_labels { key: "canary" value: 1 }')
    for _ in range(3):
        watcher.look()
    assert asked(models, 'version_label: "stable"') == NEW  # as it was
    with pytest.raises(tf.errors.InvalidArgumentError, match="label: canary"):  # all labels or none
        asked(models, 'version_label: "canary"')
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith('Request to assign label "stable" to version 3 of model a, which is not currently available')

    publish(old, folder / "3")
    watcher.look()
    assert asked(models, 'version_label: "stable"') == asked(models, 'version_label: "canary"') == OLD


def test_a_label_of_a_version_that_is_not_available_is_refused_at_the_start(configured: ConfiguredModels) -> None:
    configured.write(STABLE_1)  # of version 2 alone, the latest
    with pytest.raises(ServingError, match='label "stable" to version 1 of model a, which is not currently available'):
        configured.serve()


def test_a_labelled_version_that_goes_is_not_found(configured: ConfiguredModels, folder: Path) -> None:
    configured.write(ALL + STABLE_1)
    models, watcher = configured.serve()
    shutil.rmtree(folder / "1")
    watcher.look()
    with pytest.raises(tf.errors.NotFoundError, match=r"Servable not found for request: Specific\(a, 1\)"):
        asked(models, 'version_label: "stable"')


def test_of_several_latest_versions_the_lowest_goes(configured: ConfiguredModels, folder: Path, old: Path) -> None:
    configured.write("model_version_policy { latest { num_versions: 2 } }")
    models, watcher = configured.serve()
    assert sorted(models.current["a"].servables) == [1, 2]
    publish(old, folder / "3")
    watcher.look()
    assert sorted(models.current["a"].servables) == [2, 3]
    assert asked(models, "") == OLD


def test_a_policy_that_changes_is_followed(configured: ConfiguredModels) -> None:
    configured.write(ALL)
    models, watcher = configured.serve()
    for policy, versions in [("specific { versions: 1 }", [1]), ("specific { versions: 2 }", [2]), ("all {}", [1, 2])]:
        configured.write(f"model_version_policy {{ {policy} }}")
        watcher.look()
        assert sorted(models.current["a"].servables) == versions


def test_models_come_and_go_with_the_file(configured: ConfiguredModels) -> None:
    configured.write("", names="a")
    models, watcher = configured.serve()
    configured.write("", "", names="ab")
    watcher.look()
    assert {name: list(model.servables) for name, model in models.current.items()} == {"a": [2], "b": [2]}
    configured.write("", names="b")
    watcher.look()
    assert {name: list(model.servables) for name, model in models.current.items()} == {"a": [], "b": [2]}
    with pytest.raises(tf.errors.NotFoundError, match=r"Latest\(a\)"):
        asked(models, "")


@pytest.mark.parametrize("text", ["model_config_list { config { nam: 1 } }", "", None])
def test_a_file_that_is_wrong_changes_nothing(
    configured: ConfiguredModels, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    configured.write(ALL + STABLE_1)
    models, watcher = configured.serve()
    if text is None:
        configured.file.path.unlink()
    else:
        configured.file.path.write_text(text)
    for _ in range(3):
        watcher.look()
    assert asked(models, 'version_label: "stable"') == OLD
    assert asked(models, "") == NEW
    (line,) = [record.getMessage() for record in caplog.records]
    assert "models.config" in line
    assert line.endswith("What is served stays as it was.")
