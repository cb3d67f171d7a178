"""The comparison of ways: what counts as a difference, and what is printed."""

from pathlib import Path

import numpy as np

from mim_tf.export.gate import Case
from mim_tf.export.gate.call_file import Result
from mim_tf.serve_check.comparison import compared
from mim_tf.serve_check.exported import Exported
from mim_tf.serve_check.ways import Way

CASES = [
    Case("predict", {}, {"probability": np.array([0.5, 0.25], np.float32)}),
    Case("predict", {}, {"probability": np.array([0.125], np.float32)}),
]
MODEL = Exported(Path("there/m/ranker/7"), CASES)


def way(name: str, *answers: list[float], error: str = "") -> Way:
    results = [Result({"probability": np.array(answer, np.float32)}, error) for answer in answers]
    return Way(name, lambda model: results)


def test_the_greatest_difference_of_all_requests_counts() -> None:
    # 0.25 + 2^-18 and 0.125 + 2^-19 are floats; 2^-18 is 3.8e-6.
    near = way("near", [0.5, 0.25 + 2**-18], [0.125 + 2**-19])
    report = compared([MODEL], [way("same", [0.5, 0.25], [0.125]), near])
    assert report.problems == []
    assert report.differences == {"m/ranker.predict.probability": {"same": 0.0, "near": 2**-18}}
    assert report.table().splitlines() == [
        f"{'':28} {'same':>15} {'near':>15}",
        f"m/ranker.predict.probability {'0.0e+00':>15} {'3.8e-06':>15}",
    ]


def test_what_a_way_does_not_have_is_left_out() -> None:
    report = compared([MODEL], [way("all", [0.5, 0.25], [0.125]), Way("none", lambda model: [None, None])])
    assert report.problems == []
    assert report.table().splitlines()[1] == f"m/ranker.predict.probability {'0.0e+00':>15} {'-':>15}"


def test_what_is_wrong_is_named() -> None:
    ways = [
        way("far", [0.5, 0.25], [0.126]),
        way("short", [0.5], [0.125]),
        way("silent", [0.5, 0.25], [0.125], error="UNAVAILABLE"),
    ]
    far, short, *silent = compared([MODEL], ways).problems
    assert far.startswith(
        "far: m/ranker.predict.probability: request 2: differs by 0.001, more than 1e-05, at [0]: 0.125"
    )
    assert short == "short: m/ranker.predict.probability: request 1: shape [2] expected. Received: [1]"
    assert silent == [f"silent: m/ranker.predict.probability: request {number}: UNAVAILABLE" for number in (1, 2)]
