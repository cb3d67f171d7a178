"""What a `config.json` may ask for: one value, whole numbers, and of timm's `model_args` what is honoured."""

from typing import Any

import pytest

from mim_tf.encoders.checkpoints import require, require_whole, timm_changes

# As timm 1.0.31 writes it for a model that nothing was changed of.
TIMM = {
    "architecture": "swin_tiny_patch4_window7_224",
    "num_classes": 1000,
    "num_features": 768,
    "global_pool": "avg",
    "model_args": {"in_chans": 3, "num_classes": 1000, "global_pool": "avg", "img_size": [224, 224]},
}


def test_the_needed_value_may_be_left_out() -> None:
    require({"hidden_act": "gelu", "other": 1}, {"hidden_act": "gelu", "num_channels": 3})


@pytest.mark.parametrize("value", ["relu", None, ["gelu"]])
def test_another_value_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"`hidden_act` must be gelu\. Received: "):
        require({"hidden_act": value}, {"hidden_act": "gelu"})


@pytest.mark.parametrize("value", [[16, 16], 16.5, "16", None])
def test_a_size_that_is_no_whole_number_is_refused(value: object) -> None:
    require_whole({"patch_size": 16}, "patch_size", "image_size")
    with pytest.raises(ValueError, match=r"`patch_size` must be a whole number\. Received: "):
        require_whole({"patch_size": value}, "image_size", "patch_size")


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"model_args": None},
        {"model_args": {}},
        {"model_args": {"norm_layer": None}},
        {"model_args": {"drop_rate": 0.1, "drop_path_rate": 0.1, "proj_drop_rate": 0.1, "drop_block_rate": 0.1}},
        {"model_args": {"conv_mlp": True}},
    ],
)
def test_what_an_encoder_does_not_depend_on_is_no_change(changed: dict[str, Any]) -> None:
    assert timm_changes(TIMM | changed, pooling=["avg"], without_effect=["conv_mlp"]) == {}


def test_changes_have_our_names() -> None:
    honoured = {"depth": "num_layers", "embed_dim": "hidden_dim", "global_pool": "pooling"}
    changes = timm_changes(
        TIMM | {"model_args": {"in_chans": 3, "depth": 2}}, pooling=["avg", "token"], changeable=honoured
    )
    assert changes == {"num_layers": 2, "pooling": "avg"}  # what stands beside `model_args` too


def test_model_args_tell_the_pooling_first() -> None:
    config = {"architecture": "a", "global_pool": "avg", "model_args": {"global_pool": "token"}}
    assert timm_changes(config, pooling=["token"]) == {}
    with pytest.raises(ValueError, match=r"`global_pool` must be avg\. Received: 'token'"):
        timm_changes(config, pooling=["avg"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"global_pool": "max", "model_args": {}}, r"`global_pool` must be avg or token\. Received: 'max'"),
        ({"model_args": {"global_pool": ""}}, r"`global_pool` must be avg or token\. Received: ''"),
        ({"model_args": {"in_chans": 1}}, r"`in_chans` must be 3\. Received: 1"),
        (
            {"model_args": {"window_size": 8, "num_heads": 4, "depth": 2}},
            r"`model_args` must change nothing of swin_tiny_patch4_window7_224 but depth\. "
            r"Received: num_heads=4, window_size=8\.",
        ),
    ],
)
def test_what_is_not_honoured_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        timm_changes(TIMM | changed, pooling=["avg", "token"], changeable={"depth": "num_layers"})
