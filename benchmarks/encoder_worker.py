"""Our side of `benchmarks.encoders`: reads requests as JSON lines, answers with seconds."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import tensorflow as tf

from mim_tf.encoders import TEXT_ENCODERS, TEXT_FAMILIES, VISION_ENCODERS, VISION_FAMILIES

VOCABULARY = {"bert": 30522, "bge": 30522, "gpt2": 50257, "xlm_roberta": 250002, "beit3": 64010, "qwen3": 151936}


def build(name: str, batch: int, size: int) -> tuple[keras.Model, Any]:
    """A backbone and its inputs."""
    if name in VISION_ENCODERS:
        family = VISION_FAMILIES[VISION_ENCODERS[name]]
        model = family.build(image_size=size, dtype="float32", **family.sizes[name])
        return model, tf.random.normal([batch, size, size, 3])
    text = TEXT_FAMILIES[TEXT_ENCODERS[name]]
    arguments = {"vocabulary_size": VOCABULARY[TEXT_ENCODERS[name]], "max_sequence_length": 512} | text.sizes[name]
    model = text.build(dtype="float32", **arguments)
    token_ids = tf.random.uniform([batch, size], 5, 1000, tf.int32)
    return model, {"token_ids": token_ids, "padding_mask": tf.ones([batch, size], tf.bool)}


def steps(model: keras.Model, inputs: Any) -> dict[str, Callable[[], Any]]:
    """What is timed, compiled into graphs."""
    variables = model.trainable_variables

    @tf.function
    def inference() -> tf.Tensor:
        return model(inputs, training=False)["pooled"]

    @tf.function
    def training() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(inputs, training=True)["pooled"]))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        for variable, gradient in zip(variables, gradients, strict=True):
            if gradient is not None:
                variable.value.assign_sub(1e-9 * tf.convert_to_tensor(gradient))
        return loss

    return {"inference": inference, "training": training}


def main() -> None:
    """Answer requests until the input ends."""
    compiled: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        if "encoder" in request:
            compiled = steps(*build(request["encoder"], request["batch"], request["size"]))
        else:
            compiled[request["mode"]]().numpy()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
