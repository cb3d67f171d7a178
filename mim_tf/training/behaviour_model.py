"""The user behaviour model that settings describe."""

from __future__ import annotations

import inspect

from tensorflow import keras

from mim_tf.errors import SettingsError
from mim_tf.interest import UBMS
from mim_tf.settings import RankSettings


def behaviour_model(options: RankSettings) -> keras.layers.Layer:
    """The layer `rank.ubm`, with the arguments `rank.ubm_options`.

    Raises:
        SettingsError: it has no such arguments, or not such values of them.
    """
    layer, arguments = UBMS[options.ubm], options.ubm_options
    known = [name for name in inspect.signature(layer).parameters if name != "kwargs"]
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise SettingsError(
            f"`rank.ubm_options` must be arguments of {options.ubm}: {', '.join(known) or 'it has none'}. "
            f"Received: {', '.join(unknown)}."
        )
    try:
        return layer(**arguments)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"`rank.ubm_options`: {error}") from error
