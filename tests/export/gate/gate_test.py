"""What passes the gate, what does not, and how all that failed is said."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from mim_tf.errors import ExportError
from mim_tf.export.gate import Case, check_model
from mim_tf.export.gate.runner import Runner
from tests.export.gate.toy_models import edit, save_function, save_scorer, scorer_cases

WORDS = ["[UNK]", "a", "red", "mug", "##s"]
ALL = ["sizes", "cases", "stock ops", "reload", "C API"]


def lines(error: pytest.ExceptionInfo[ExportError]) -> list[str]:
    """What failed, without the first line, which names the folder."""
    return [line for line in str(error.value).splitlines()[1:] if not line.startswith("    ")]


@pytest.mark.slow
@pytest.mark.usefixtures("program")
def test_a_right_model_passes(tmp_path: Path) -> None:
    report = check_model(save_scorer(tmp_path / "model"), scorer_cases())
    assert report.passed == ALL
    assert report.skipped == {}
    assert report.untested == []
    for check in ("reload", "C API"):
        assert report.differences[check]["predict"] == {"score": 0.0, "key": 0.0}
    assert report.sizes.variables > 2**20  # the table's index


@pytest.mark.slow
def test_without_a_compiler_python_checks_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "absent-c++")
    report = check_model(save_scorer(tmp_path / "model"), scorer_cases()[:1])
    assert report.passed == ALL[:-1]
    assert report.skipped == {"C API": "there is no C++ compiler absent-c++"}
    assert report.untested == ["lookup", "serving_default", "upsert"]
    assert list(report.differences) == ["reload"]


def add_unknown_op(model: saved_model_pb2.SavedModel) -> None:
    """In a function that no signature calls."""
    function = model.meta_graphs[0].graph_def.library.function.add()
    function.signature.name = "unused"
    function.node_def.add(name="n", op="NotAnOp")


@pytest.mark.slow
@pytest.mark.usefixtures("program")
def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    large = np.random.default_rng(0).integers(9, size=2**17 + 1)  # 1 MiB and a number
    folder = save_function(
        tmp_path / "model",
        lambda x: {"y": x * 2, "n": tf.gather(large, tf.cast(x, tf.int64))},
        x=tf.TensorSpec([None], tf.float32),
    )
    (folder / "notes.txt").touch()
    x = np.array([1, 2], np.float32)
    right = Case("serving_default", {"x": x}, {"y": 2 * x})
    wrong = Case("serving_default", {"x": x}, {"y": np.array([2, 4.5], np.float32), "n": large[[1, 3]]})
    assert large[2] != large[3]
    with pytest.raises(ExportError, match=r"model must not be published:\n") as error:
        check_model(folder, [right, wrong], tolerance=0.25)
    sizes, found = lines(error)[:2], lines(error)[2:]
    assert "(Const) has 10486" in sizes[0]  # 1,048,584 and a name
    assert sizes[1] == "  sizes: notes.txt is no part of a SavedModel"
    at = f"at [1]: {large[3]} expected. Received: {large[2]}"
    for check in ("reload", "C API"):
        case = f"  {check}: case 2, serving_default"
        assert f"{case}.y: differs by 0.5, more than 0.25, at [1]: 4.5 expected. Received: 4.0" in found
        assert f"{case}.n: 1 of 2 differ, the first {at}" in found
    assert len(found) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("program")
def test_an_unknown_op_is_named_though_nothing_calls_it(tmp_path: Path) -> None:
    folder = save_scorer(tmp_path / "model")
    edit(folder, add_unknown_op)
    with pytest.raises(ExportError, match=r"must not be published") as error:
        check_model(folder, scorer_cases())
    expected = "  stock ops: NotAnOp is no op of stock TensorFlow: node n of function unused"
    assert expected in lines(error)


@pytest.mark.slow
@pytest.mark.usefixtures("program")
def test_without_variables_all_checks_that_need_them_fail(tmp_path: Path) -> None:
    folder = save_scorer(tmp_path / "model")
    shutil.rmtree(folder / "variables")
    with pytest.raises(ExportError, match=r"must not be published") as error:
        check_model(folder, scorer_cases()[:1])
    found = lines(error)
    assert [line.split(":")[0].strip() for line in found] == ["sizes", "reload", "C API"]
    assert found[0] == "  sizes: variables/variables.index is missing"


@pytest.mark.usefixtures("program")
def test_cases_that_do_not_fit_are_not_run(tmp_path: Path) -> None:
    folder = save_scorer(tmp_path / "model")
    first = scorer_cases()[0]
    cases = [
        first,
        first._replace(inputs={"x": first.inputs["x"]}),
        first._replace(signature="rank"),
        first._replace(expected={}),
    ]
    with pytest.raises(ExportError, match=r"must not be published") as error:
        check_model(folder, cases)
    assert [line.split(". Received")[0] for line in lines(error)] == [
        "  cases: case 2: `inputs` of predict must be name, x",
        "  cases: case 3: `signature` must be one of lookup, predict, serving_default, upsert",
        "  cases: case 4: `expected` must name an output of predict",
    ]
    with pytest.raises(ValueError, match=r"`cases` must hold at least one case\. Received: none\."):
        check_model(folder, [])


@pytest.mark.slow
def test_tf_texts_ops_pass_where_they_are_allowed(tmp_path: Path, program: Runner) -> None:
    assert program
    import tensorflow_text

    tokenizer = tensorflow_text.FastWordpieceTokenizer(WORDS, token_out_type=tf.int64)
    folder = save_function(
        tmp_path / "model",
        lambda title: {"ids": tokenizer.tokenize(title).to_tensor(-1)},
        title=tf.TensorSpec([None], tf.string),
    )
    titles = np.array(["red mugs", "a blue mug"])
    ids = np.array([[2, 3, 4], [1, 0, 3]])  # places in WORDS
    case = Case("serving_default", {"title": titles}, {"ids": ids})
    assert check_model(folder, [case], text_ops=True).passed == ALL
    with pytest.raises(ExportError, match=r"must not be published") as error:
        check_model(folder, [case])
    found = lines(error)
    assert [line.split(":")[0].strip() for line in found] == ["stock ops", "reload", "C API"]
    for line in found:
        assert "FastWordpieceTokenize" in line
