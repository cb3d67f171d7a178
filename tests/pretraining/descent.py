"""Plain gradient descent on a language model's objective, for tests that it can be learnt."""

import tensorflow as tf

from mim_tf.pretraining.causal_language import CausalLanguage
from mim_tf.pretraining.masked_language import MaskedLanguage


def learn(model: CausalLanguage | MaskedLanguage, batch: dict[str, tf.Tensor], steps: int) -> None:
    """Plain steps down the gradient, in one graph: eagerly they take twice as long."""
    variables = model.trainable_variables

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = model.losses_of(batch)["loss"]
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(0.2 * tf.convert_to_tensor(gradient))

    for _ in range(steps):
        step()
