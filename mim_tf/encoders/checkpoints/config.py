"""What a checkpoint's `config.json` asks for, and the refusal of what an architecture here does not do."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

# Of timm's arguments those that no encoder depends on: its image size is its own, and it has no classifier.
_TIMM_OTHERS = {"num_classes", "img_size", "dynamic_img_size", "strict_img_size"}
_TIMM_DROP_RATE = re.compile(r"(\w+_)?drop(_\w+)?_rate")  # of training


def require(config: Mapping[str, Any], needed: Mapping[str, Any]) -> None:
    """Refuse a configuration with other values than these.

    Args:
        config: the content of a `config.json`, or a part of it; a missing key stands for what is built.
        needed: the only value that is built here, or a tuple of them, by key.

    Raises:
        ValueError: another value.
    """
    for key, value in needed.items():
        values = value if isinstance(value, tuple) else (value,)
        if key in config and config[key] not in values:
            allowed = " or ".join(str(value) for value in values)
            raise ValueError(f"`{key}` must be {allowed}. Received: {config[key]!r}.")


def require_whole(config: Mapping[str, Any], *keys: str) -> None:
    """Refuse sizes that are no whole numbers, such as height and width apart; a missing key is passed over.

    Raises:
        ValueError: another value.
    """
    for key in keys:
        if key in config and not isinstance(config[key], int):
            raise ValueError(f"`{key}` must be a whole number. Received: {config[key]!r}.")


def timm_changes(
    config: Mapping[str, Any],
    *,
    pooling: Collection[str],
    changeable: Mapping[str, str] | None = None,
    without_effect: Collection[str] = (),
) -> dict[str, Any]:
    """In what a model of timm differs from the one that its architecture's name stands for.

    timm keeps no sizes in `config.json` but that name, and in `model_args` the arguments that its model was made with.
    Older files have no `model_args`, newer ones always.

    Args:
        config: the content of timm's `config.json`.
        pooling: timm's names of the poolings that are built here.
        changeable: further arguments of timm's that are honoured, with our names.
        without_effect: further arguments of timm's that change nothing in what an encoder computes.

    Returns:
        By our names, the values of those of `changeable` that the file has; `global_pool` also where it stands beside
        `model_args`.

    Raises:
        ValueError: another number of channels, another pooling, or a change that is not honoured.
    """
    changeable = changeable or {}
    made_with = {"global_pool": config.get("global_pool")} | dict(config.get("model_args") or {})
    changes = {key: value for key, value in made_with.items() if value is not None and not _without_effect(key)}
    require(changes, {"in_chans": 3})
    allowed = sorted(pooling)
    if changes.get("global_pool", allowed[0]) not in allowed:
        raise ValueError(f"`global_pool` must be {' or '.join(allowed)}. Received: {changes['global_pool']!r}.")
    unknown = sorted(changes.keys() - changeable.keys() - {"in_chans", "global_pool", *without_effect})
    if unknown:
        received = ", ".join(f"{key}={changes[key]!r}" for key in unknown)
        but = f" but {', '.join(sorted(changeable))}" if changeable else ""
        raise ValueError(f"`model_args` must change nothing of {config['architecture']}{but}. Received: {received}.")
    return {ours: changes[theirs] for theirs, ours in changeable.items() if theirs in changes}


def _without_effect(argument: str) -> bool:
    return argument in _TIMM_OTHERS or bool(_TIMM_DROP_RATE.fullmatch(argument))
