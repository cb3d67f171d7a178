"""Both processes that run SavedModels: what goes in comes out, whatever its dtype, shape and bytes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.export.gate import Case
from mim_tf.export.gate.call_file import Call, Result
from mim_tf.export.gate.reload import python_runner
from mim_tf.export.gate.runner import Runner, RunnerError
from mim_tf.export.gate.saved_graph import SavedGraph
from tests.export.gate.toy_models import save_function, save_scorer, scorer_cases

DTYPES = (
    *(tf.bool, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64),
    *(tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.complex64, tf.complex128, tf.string),
)
BYTES = np.array([[b"\xff\xd8\0\0", b"", b"\0"], ["ö".encode(), b"x" * 100, b"x" * 23]], object)  # 22 fit inline


@pytest.fixture(params=["program", pytest.param("python", marks=pytest.mark.slow)])
def runner(request: pytest.FixtureRequest, program: Runner) -> Runner:
    return program if request.param == "program" else python_runner(text_ops=False)


def values_of(dtype: tf.DType) -> np.ndarray:
    return BYTES if dtype == tf.string else np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype.as_numpy_dtype)


EVERY = {dtype.name: values_of(dtype) for dtype in DTYPES}


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers its inputs, one of each dtype and any shape."""
    specs = {dtype.name: tf.TensorSpec(None, dtype) for dtype in DTYPES}
    return save_function(tmp_path_factory.mktemp("echo") / "model", lambda **inputs: inputs, **specs)


def run(runner: Runner, folder: Path, cases: list[Case]) -> list[Result]:
    graph = SavedGraph.read(folder)
    return runner.run(folder, [graph.call(case) for case in cases])


def test_every_dtype_in_every_shape(runner: Runner, echo: Path) -> None:
    parts = [
        EVERY,
        {name: values[:0] for name, values in EVERY.items()},
        {name: values[:1, :1].reshape([]) for name, values in EVERY.items()},
        {name: values[:1, None, 1:] for name, values in EVERY.items()},
    ]
    results = run(runner, echo, [Case("serving_default", part, part) for part in parts])
    for part, result in zip(parts, results, strict=True):
        assert result.error == ""
        assert set(result.outputs) == set(part)
        for name, values in part.items():
            received = result.outputs[name]
            assert (received.dtype, received.shape) == (values.dtype, values.shape), name
            np.testing.assert_array_equal(received, values)


def test_what_a_call_changes_the_next_finds_and_the_next_process_does_not(runner: Runner, tmp_path: Path) -> None:
    folder, cases = save_scorer(tmp_path / "model"), scorer_cases()
    for results in (run(runner, folder, cases), run(runner, folder, cases)):
        for case, result in zip(cases, results, strict=True):
            for name, expected in case.expected.items():
                np.testing.assert_array_equal(result.outputs[name], expected)


def test_a_call_that_fails_says_why_and_the_others_are_made(runner: Runner, tmp_path: Path) -> None:
    spec = tf.TensorSpec([None], tf.int32)
    folder = save_function(tmp_path / "model", lambda x, y: {"ratio": x // y, "x": x}, x=spec, y=spec)
    numbers = np.array([6, 8], np.int32)
    cases = [
        Case("serving_default", {"x": numbers, "y": numbers * zero_or_one}, {"x": numbers}) for zero_or_one in (0, 1)
    ]
    failed, made = run(runner, folder, cases)
    assert failed.outputs == {}
    assert failed.error.replace("_", "").lower().startswith("invalidargument")
    assert "divi" in failed.error.lower()  # "Integer division by zero"
    np.testing.assert_array_equal(made.outputs["ratio"], [1, 1])


def test_two_outputs_may_be_one_tensor(program: Runner, echo: Path) -> None:
    """As where an edit gave both names to it."""
    call = SavedGraph.read(echo).call(Case("serving_default", EVERY, EVERY))
    tensor = call.fetches["float16"]
    (result,) = program.run(echo, [call._replace(fetches={"a": tensor, "b": tensor})])
    assert result.error == ""
    for name in ("a", "b"):
        np.testing.assert_array_equal(result.outputs[name], EVERY["float16"])


def test_a_tensor_that_the_graph_has_not_is_named(program: Runner, echo: Path) -> None:
    for tensor in ("absent:0", "serving_default_float32:1"):
        with pytest.raises(RunnerError, match=rf"ended with 1: NOT_FOUND: the graph has no tensor {tensor}"):
            program.run(echo, [Call("serving_default", {}, {}, {"x": tensor})])


def test_a_model_that_cannot_be_loaded_is_an_error(runner: Runner, tmp_path: Path) -> None:
    folder = save_scorer(tmp_path / "model")
    data = folder / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(RunnerError, match=r"^the process ended with 1: [A-Z]\w+: Read less bytes than requested"):
        run(runner, folder, scorer_cases())


def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    runner = Runner([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)
    with pytest.raises(RunnerError, match=r"the process took more than 0\.2 s"):
        runner.run(tmp_path, [])
