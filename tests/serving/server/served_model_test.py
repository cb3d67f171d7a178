"""The states that the versions of a model go through."""

from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2

from mim_tf.errors import ServingError
from mim_tf.serving.server.servable import Servable
from mim_tf.serving.server.served_model import ServedModel

State = get_model_status_pb2.ModelVersionStatus.State


def states(model: ServedModel) -> dict[int, str]:
    return {version: State.Name(status.state) for version, status in model.statuses.items()}


@pytest.fixture
def first(old: Path) -> Servable:
    return Servable("ranker", 1, old)


def error(cause: Exception | None) -> ServingError:
    failure = ServingError("version 2 cannot be loaded")
    failure.__cause__ = cause
    return failure


def test_from_one_version_to_the_next(first: Servable, new: Path) -> None:
    model = ServedModel().serving(first)
    assert model.latest is first
    assert states(model) == {1: "AVAILABLE"}

    model = model.loading(2)
    assert model.latest is first
    assert states(model) == {1: "AVAILABLE", 2: "LOADING"}

    second = Servable("ranker", 2, new)
    model = model.serving(second)
    assert model.latest is second
    assert model.servables == {1: first, 2: second}
    assert states(model) == {1: "AVAILABLE", 2: "AVAILABLE"}

    model = model.dropping(1)
    assert model.servables == {2: second}
    assert states(model) == {1: "UNLOADING", 2: "AVAILABLE"}

    model = model.ended(1)
    assert states(model) == {1: "END", 2: "AVAILABLE"}


def test_a_lower_version_beside_a_higher_one_is_not_the_latest(first: Servable, new: Path) -> None:
    second = Servable("ranker", 2, new)
    assert ServedModel().serving(second).serving(first).latest is second


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (tf.errors.DataLossError(None, None, "truncated"), 15),
        (FileNotFoundError("saved_model.pb"), 5),
        (KeyError("predict"), 2),
        (None, 2),
    ],
)
def test_a_failure_is_told_with_its_code(first: Servable, cause: Exception | None, code: int) -> None:
    """The numbers are gRPC's: 2 is UNKNOWN, 5 is NOT_FOUND, 15 is DATA_LOSS."""
    model = ServedModel().serving(first).loading(2).failed(2, error(cause))
    assert model.latest is first
    assert states(model) == {1: "AVAILABLE", 2: "END"}
    assert model.statuses[2].status.error_code == code
    assert model.statuses[2].status.error_message == "version 2 cannot be loaded"
    assert model.statuses[1].status.error_code == 0


def test_a_failed_version_that_loads_after_all_has_no_error(first: Servable) -> None:
    model = ServedModel().serving(first).loading(2).failed(2, error(None)).loading(2)
    assert states(model) == {1: "AVAILABLE", 2: "LOADING"}
    assert model.statuses[2].status.error_code == 0


def test_the_last_version_goes(first: Servable) -> None:
    model = ServedModel().serving(first).dropping(1)
    assert model.latest is None
    assert states(model) == {1: "UNLOADING"}
    assert states(model.ended(1)) == {1: "END"}


def test_a_version_served_again_is_not_at_its_end(first: Servable, new: Path) -> None:
    model = ServedModel().serving(first).serving(Servable("ranker", 2, new)).dropping(1).serving(first).dropping(2)
    assert states(model.ended(1)) == {1: "AVAILABLE", 2: "UNLOADING"}


def test_a_step_changes_nothing_of_what_was(first: Servable) -> None:
    model = ServedModel().serving(first)
    model.loading(2).failed(2, error(None))
    assert states(model) == {1: "AVAILABLE"}
