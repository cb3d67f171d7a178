"""No family without a case: what is not compared is not known to be the same."""

from mim_tf.encoders import TEXT_ENCODERS, TEXT_FAMILIES, VISION_ENCODERS, VISION_FAMILIES
from parity.conftest import cases


def test_every_family_is_compared() -> None:
    compared: dict[str, set[str]] = {"vision": set(), "text": set()}
    for case in cases():
        families = TEXT_ENCODERS if case["modality"] == "text" else VISION_ENCODERS
        compared.setdefault(case["modality"], set()).add(families.get(case["encoder"], case["encoder"]))
    assert compared["vision"] == set(VISION_FAMILIES)
    assert compared["text"] == set(TEXT_FAMILIES)
