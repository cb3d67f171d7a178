"""The training loop: interrupted anywhere it ends as if it had not been; bad steps, bad checkpoints, what it shows."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mim_tf.errors import SettingsError, StageError, StageStoppedError
from mim_tf.settings import TrainingSettings
from mim_tf.training import loop
from mim_tf.training.input import epoch_steps
from mim_tf.training.loop import Evaluation
from mim_tf.training.trainer import Trainer
from tests.training.toy_training import EPOCH, KilledError, Toy, fit, score_of, state, write_records
from tests.training.traces import planes, steps_in

STEPS = 3 * EPOCH


def slowly(*cases: Any) -> list[Any]:
    """The same once more: each training is built and traced anew."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]


@pytest.fixture(autouse=True)
def short_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 5 steps, of 30 in all."""
    monkeypatch.setattr(loop, "STEPS_PER_LOOP", 5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_records(tmp_path / "records")
    return tmp_path


def dying_at(step: int) -> Callable[[], Toy]:
    def die(now: int) -> float:
        if now == step:
            raise KilledError
        return 1.0

    return lambda: Toy(die)


def assert_same(found: Toy, expected: Toy) -> None:
    for one, other in zip(state(found), state(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.losses_seen.items() <= expected.losses_seen.items()


def tensors(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows: by name and step."""
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    return {
        name: {event.step: float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(name)}
        for name in events.Tags()["tensors"]
    }


@pytest.mark.parametrize(
    ("options", "kills"),
    [
        ({"averaging": 0.9, "evaluate": score_of}, (14,)),
        *slowly(({}, (0, 9)), ({"averaging": 0.9}, (10, 22)), ({"averaging": 0.9, "evaluate": score_of}, (6, 29))),
    ],
)
def test_a_killed_training_ends_as_one_that_was_not(
    tmp_path: Path, options: dict[str, Any], kills: tuple[int, ...]
) -> None:
    write_records(tmp_path / "records")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "records").symlink_to(tmp_path / "records")
    whole, expected = fit(tmp_path / "whole", **options)
    assert sorted(whole.losses_seen) == list(range(STEPS))
    for step in kills:
        killed = tmp_path / f"killed{step}"
        killed.mkdir()
        (killed / "records").symlink_to(tmp_path / "records")
        with pytest.raises((KilledError, tf.errors.OpError)):
            fit(killed, dying_at(step), **options)
        again, metrics = fit(killed, **options)
        assert min(again.losses_seen) == step - step % 10  # from the last checkpoint
        assert_same(again, whole)
        for name in ("steps", *(name for name in expected if name.startswith(("held_out", "start")))):
            assert metrics[name] == expected[name]


@pytest.mark.parametrize("at", [9, 20, 30, *slowly(0, 10, 19, 28)])
def test_killed_around_an_evaluation_the_best_weights_are_still_the_best(folder: Path, at: int) -> None:
    """Scores rise and fall; the kill comes in the evaluation itself, before or after a checkpoint of that step."""
    scores = {9: 3.0, 10: 1.0, 19: 2.0, 20: 5.0, 28: 4.0, 30: 3.5}
    weights: dict[int, list[np.ndarray]] = {}

    def evaluate(dies: bool) -> Callable[[Toy], Evaluation]:
        def score(objective: Toy) -> Evaluation:
            step = step_of(objective)
            if step not in weights:
                weights[step] = state(objective)
            if dies and step == at:
                raise KilledError
            return Evaluation(scores.get(step, 0.0), {"step": step})

        return score

    with pytest.raises(KilledError):
        fit(folder, evaluate=evaluate(True), evaluate_every=1)
    objective, metrics = fit(folder, evaluate=evaluate(False), evaluate_every=1)
    assert (metrics["start_step"], metrics["held_out_step"]) == (0, 20)
    for one, other in zip(state(objective), weights[20], strict=True):
        np.testing.assert_array_equal(one, other)


def fresh() -> Toy:
    """What every training starts from."""
    keras.utils.set_random_seed(5)
    return Toy()


def step_of(objective: Toy) -> int:
    return int(objective.step.numpy())


@pytest.mark.parametrize("kill", [0, 12, *slowly(3, 29)])
def test_the_start_is_measured_once_whenever_the_training_is_killed(folder: Path, kill: int) -> None:
    measured: list[int] = []

    def evaluate(objective: Toy) -> Evaluation:
        measured.append(step_of(objective))
        return score_of(objective)

    with pytest.raises((KilledError, tf.errors.OpError)):
        fit(folder, dying_at(kill), evaluate=evaluate, averaging=0.9)
    _, metrics = fit(folder, evaluate=evaluate, averaging=0.9)
    assert measured.count(0) == measured.count(30) == 1
    assert metrics["start_weight"] == score_of(fresh()).scalars["weight"]
    assert tensors(folder)["held_out_weight"][0] == pytest.approx(metrics["start_weight"], rel=1e-6)


@pytest.mark.parametrize("kill", [12, *slowly(None, 2)])
def test_what_a_training_starts_from_may_be_the_best(folder: Path, kill: int | None) -> None:
    def evaluate(objective: Toy) -> Evaluation:
        return Evaluation(-step_of(objective), {"step": step_of(objective)})

    if kill:
        with pytest.raises((KilledError, tf.errors.OpError)):
            fit(folder, dying_at(kill), evaluate=evaluate)
    objective, metrics = fit(folder, evaluate=evaluate)
    assert (metrics["start_step"], metrics["held_out_step"], metrics["steps"]) == (0, 0, STEPS)
    for one, other in zip(state(objective), state(fresh()), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("score", [None, np.nan])
@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_without_a_score_the_last_weights_are_handed_over_with_what_they_gave(
    folder: Path, score: float | None, averaging: float
) -> None:
    def evaluate(objective: Toy) -> Evaluation:
        return Evaluation(score, {"step": step_of(objective), **score_of(objective).scalars})

    objective, metrics = fit(folder, evaluate=evaluate, averaging=averaging)
    assert step_of(objective) == metrics["held_out_step"] == STEPS
    assert metrics["held_out_weight"] == score_of(objective).scalars["weight"] != metrics["start_weight"]
    assert not (folder / "checkpoints" / "best").exists()


@pytest.mark.parametrize("averaging", [0.0, 0.9])
@pytest.mark.parametrize("evaluate", [score_of, lambda objective: Evaluation(None, score_of(objective).scalars)])
def test_no_epochs_measure_the_start_and_hand_it_over(
    folder: Path, averaging: float, evaluate: Callable[[Toy], Evaluation]
) -> None:
    measured: list[int] = []

    def once(objective: Toy) -> Evaluation:
        measured.append(step_of(objective))
        return evaluate(objective)

    for _ in range(2):  # the second time it is done already
        objective, metrics = fit(folder, evaluate=once, epochs=0, batch_size=1000, averaging=averaging)
        weight = score_of(fresh()).scalars["weight"]
        assert metrics == {"start_weight": weight, "held_out_weight": weight, "steps": 0}
        assert objective.losses_seen == {}
        for one, other in zip(state(objective), state(fresh()), strict=True):
            np.testing.assert_array_equal(one, other)
    assert measured == [0]
    assert tensors(folder) == {"held_out_weight": {0: pytest.approx(weight, rel=1e-6)}}


def test_the_final_evaluation_comes_after_a_kill_in_it(folder: Path) -> None:
    def die(objective: Toy) -> Evaluation:
        if step_of(objective):
            raise KilledError
        return Evaluation(0.0, {})

    with pytest.raises(KilledError):
        fit(folder, evaluate=die, evaluate_every=1000)
    _, metrics = fit(folder, evaluate=lambda objective: Evaluation(1.0, {"accuracy": 0.5}), evaluate_every=1000)
    assert metrics["held_out_accuracy"] == 0.5
    assert list((folder / "checkpoints" / "best").glob("*.index"))


@pytest.mark.parametrize(
    ("moment", "number", "stops"),
    [
        ("step", signal.SIGTERM, "1[34]"),
        *slowly(("evaluation", signal.SIGTERM, "15"), ("start", signal.SIGTERM, "1"), ("step", signal.SIGINT, "1[34]")),
    ],
)
def test_a_signal_ends_the_step_saves_and_the_same_again_continues(
    tmp_path: Path, moment: str, number: signal.Signals, stops: str
) -> None:
    write_records(tmp_path / "records")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "records").symlink_to(tmp_path / "records")
    whole, _ = fit(tmp_path / "whole", evaluate=score_of)

    def stop_at(step: int) -> float:
        if moment == "step" and step == 12:
            os.kill(os.getpid(), number)
        return 1.0

    def evaluate(objective: Toy) -> Evaluation:
        if step_of(objective) == {"start": 0, "evaluation": 14}.get(moment):
            os.kill(os.getpid(), number)
        return score_of(objective)

    before = signal.getsignal(number)
    with pytest.raises(StageStoppedError, match=rf"stopped after step {stops} of 30, with a checkpoint") as stopped:
        fit(tmp_path, lambda: Toy(stop_at), evaluate=evaluate)
    assert signal.getsignal(number) is before
    last = int(str(stopped.value).split()[3])
    assert (tmp_path / "checkpoints" / f"ckpt-{last}.index").exists()
    again, _ = fit(tmp_path, evaluate=score_of)
    assert min(again.losses_seen) == last
    assert_same(again, whole)


def test_sigterm_in_the_last_evaluation_is_not_forgotten(folder: Path) -> None:
    def evaluate(objective: Toy) -> Evaluation:
        if step_of(objective) == STEPS:
            os.kill(os.getpid(), signal.SIGTERM)
        return Evaluation(1.0, {})

    with pytest.raises(StageStoppedError, match="stopped after step 30 of 30"):
        fit(folder, evaluate=evaluate, evaluate_every=1000)
    fit(folder, evaluate=lambda objective: Evaluation(1.0, {}), evaluate_every=1000)


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers: list[Any] = []
    monkeypatch.setattr(loop, "Trainer", lambda *args, **how: trainers.append(Trainer(*args, **how)) or trainers[-1])
    seen: dict[int, list[np.ndarray]] = {}

    def at_step(step: int) -> float:
        if trainers and step in (7, 8):
            checkpoint = trainers[-1].checkpoint()
            kept = [*checkpoint.variables, *checkpoint.optimizer, *checkpoint.averages]
            seen[step] = [variable.numpy() for variable in kept if "step" not in variable.name]
        return np.nan if step == 7 else 1.0

    _, metrics = fit(folder, lambda: Toy(at_step), averaging=0.9, evaluate_every=1000)
    for before, after in zip(seen[7], seen[8], strict=True):
        np.testing.assert_array_equal(after, before)
    assert metrics["skipped_steps"] == 1
    assert metrics["steps"] == STEPS
    shown = tensors(folder)
    assert shown["skipped_steps"] == {5: 0, 10: 1, 15: 1, 20: 1, 25: 1, 30: 1}
    assert np.isfinite(list(shown["loss"].values())).all()


def test_the_counter_of_skipped_steps_survives_a_restart_and_means_leave_them_out(folder: Path) -> None:
    def bad(step: int) -> float:
        if step == 17:
            raise KilledError
        return np.inf if step in (3, 12) else 1.0

    with pytest.raises((KilledError, tf.errors.OpError)):
        fit(folder, lambda: Toy(bad), evaluate_every=1000)
    objective, metrics = fit(folder, lambda: Toy(lambda step: np.inf if step == 12 else 1.0), evaluate_every=1000)
    assert metrics["skipped_steps"] == 2
    finite = [objective.losses_seen[step] for step in (10, 11, 13, 14)]
    np.testing.assert_allclose(tensors(folder)["loss"][15], np.mean(finite), rtol=1e-6)


def test_ten_steps_in_a_row_without_finite_gradients_end_the_training(folder: Path) -> None:
    with pytest.raises(StageError, match=r"10 steps in a row, up to step 14, had no finite gradients.*Lower the lear"):
        fit(folder, lambda: Toy(lambda step: np.nan if step >= 4 else 1.0))


def test_nine_are_passed_over(folder: Path) -> None:
    _, metrics = fit(folder, lambda: Toy(lambda step: np.nan if 4 <= step < 13 or 14 <= step < 23 else 1.0))
    assert metrics["skipped_steps"] == 18


def test_the_last_and_the_best_checkpoint_are_there_and_no_others(folder: Path) -> None:
    with pytest.raises((KilledError, tf.errors.OpError)):
        fit(folder, dying_at(17), evaluate=score_of)
    fit(folder, evaluate=score_of)
    found = sorted(path.name for path in (folder / "checkpoints").glob("*"))
    assert found == ["best", "checkpoint", "ckpt-30.data-00000-of-00001", "ckpt-30.index", "scalars.json"]
    best = sorted(path.suffix for path in (folder / "checkpoints" / "best").glob("ckpt*"))
    assert best == [".data-00000-of-00001", ".index"]


def test_a_checkpoint_of_another_model_is_refused(folder: Path) -> None:
    fit(folder)
    with pytest.raises(StageError, match=r"checkpoints/ckpt-30 is not a checkpoint of this training"):
        fit(folder, lambda: Toy(width=4))


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("share", [0.9, *slowly(0.0)])
def test_a_damaged_checkpoint_is_refused(folder: Path, part: str, share: float) -> None:
    fit(folder, epochs=1)
    file = folder / "checkpoints" / f"ckpt-10.{part}"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(StageError, match=r"checkpoints/ckpt-10 is not a checkpoint of this training, or is damaged"):
        fit(folder)


@pytest.mark.parametrize("file", ["ckpt-10.index", "ckpt-10.data-00000-of-00001"])
def test_a_checkpoint_without_a_file_is_refused(folder: Path, file: str) -> None:
    fit(folder, epochs=1)
    (folder / "checkpoints" / file).unlink()
    with pytest.raises(StageError, match=r"checkpoints/ckpt-10 is not a checkpoint of this training, or is damaged"):
        fit(folder)


def test_a_training_that_was_done_is_handed_over_again(folder: Path) -> None:
    first, expected = fit(folder, evaluate=score_of)
    again, metrics = fit(folder, evaluate=score_of)
    assert again.losses_seen == {}
    assert_same(again, first)
    assert metrics["held_out_weight"] == expected["held_out_weight"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 41}, r"`csft\.batch_size` must be at most 40, all there are\. Received: 41"),
        ({"chunk_size": 3}, r"`csft\.chunk_size` must divide the 4 examples of a replica\. Received: 3"),
    ],
)
def test_what_does_not_go_evenly_is_refused(folder: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        fit(folder, **options)
    assert not (folder / "checkpoints").exists()


def test_a_batch_goes_evenly_onto_replicas() -> None:
    with pytest.raises(SettingsError, match=r"`csft\.batch_size` must be a multiple of the 3 replicas\. Received: 4"):
        epoch_steps(40, TrainingSettings(batch_size=4), 3, "csft")
    assert epoch_steps(41, TrainingSettings(batch_size=4), 2, "csft") == 10


def test_tensorboard_shows_every_scalar_at_its_step(folder: Path) -> None:
    objective, metrics = fit(folder, evaluate=score_of)
    shown = tensors(folder)
    loops = [5, 7, 10, 14, 15, 20, 21, 25, 28, 30]
    for name in ("loss", "number", "gradient_norm", "skipped_steps", "steps_per_second"):
        assert sorted(shown[name]) == loops
    assert sorted(shown["held_out_weight"]) == [0, 7, 14, 21, 28, 30]
    for first, last in zip([0, *loops], loops, strict=False):
        mean = np.mean([objective.losses_seen[step] for step in range(first, last)])
        np.testing.assert_allclose(shown["loss"][last], mean, rtol=1e-5)
    for name in ("examples_per_second", "input_wait_share"):
        assert sorted(shown[name]) == loops
    assert metrics["examples_per_second"] > 0
    assert 0 <= metrics["input_wait_share"] <= 1
    assert metrics["loss"] == pytest.approx(shown["loss"][30], rel=1e-6)


def test_the_steps_asked_for_are_traced_across_loops_and_evaluations(folder: Path) -> None:
    fit(folder, evaluate=score_of, profile=(6, 8))  # an evaluation comes after seven steps
    [plane] = planes(folder / "tensorboard")
    assert steps_in(plane) == [6, 7, 8]


def test_a_list_of_checkpoints_that_is_damaged_is_refused(folder: Path) -> None:
    fit(folder, epochs=1)
    (folder / "checkpoints" / "checkpoint").write_text("model_checkpoint")
    with pytest.raises(StageError, match=r"checkpoints/checkpoint is not a checkpoint of this training, or is damaged"):
        fit(folder)
