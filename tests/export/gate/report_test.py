"""The report of a model that passed."""

import json

from mim_tf.export.gate import GateReport
from mim_tf.export.gate.sizes import Sizes

REPORT = GateReport(
    passed=["sizes", "reload", "C API"],
    skipped={},
    sizes=Sizes(graph=31_403, variables=2**30, assets=0, nodes=109),
    differences={
        "reload": {"rank": {"probability": 2.5e-7, "top_item_id": 0.0}, "version": {"version": 0.0}},
        "C API": {"rank": {"probability": 3e-8, "top_item_id": 0.0}, "version": {"version": 0.0}},
    },
    untested=["serving_default"],
)


def test_it_is_a_line() -> None:
    assert str(REPORT) == "passed sizes, reload, C API; greatest difference 2.5e-07"


def test_what_was_skipped_is_told_with_the_reason() -> None:
    report = GateReport(["sizes"], {"C API": "there is no C++ compiler g++ or c++"}, REPORT.sizes, {}, [])
    assert str(report) == ("passed sizes; greatest difference 0; C API skipped: there is no C++ compiler g++ or c++")


def test_it_becomes_json() -> None:
    values = json.loads(json.dumps(REPORT.to_json(), allow_nan=False))
    assert values["passed"] == ["sizes", "reload", "C API"]
    assert values["sizes"] == {"graph": 31403, "variables": 1073741824, "assets": 0, "nodes": 109}
    assert values["differences"]["C API"]["rank"] == {"probability": 3e-8, "top_item_id": 0.0}
    assert values["greatest_difference"] == 2.5e-7
    assert (values["skipped"], values["untested"]) == ({}, ["serving_default"])
