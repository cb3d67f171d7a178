"""Token prediction seen from two replicas, as JSON: run by `token_prediction_test.py` where devices are still free."""

import json
import sys

import keras
import tensorflow as tf

from mim_tf.pretraining.token_prediction import predict_tokens

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
SPLIT = 2  # tokens of the first replica


def main() -> None:
    """Read the arrays, print what each replica has."""
    arrays = json.load(sys.stdin)
    with STRATEGY.scope():
        embedding = keras.Variable(arrays["embedding"], dtype="float32")

    def step(hidden: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            scalars = predict_tokens(hidden, targets, embedding)
        return {**scalars, "gradient": tape.gradient(scalars["loss"], embedding.value)}

    def of_replicas(values: list, dtype: str) -> tf.distribute.DistributedValues:
        parts = [tf.constant(values[:SPLIT], dtype), tf.constant(values[SPLIT:], dtype)]
        return STRATEGY.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group]
        )

    inputs = of_replicas(arrays["hidden"], "float32"), of_replicas(arrays["targets"], "int32")
    seen = tf.function(lambda *each: STRATEGY.run(step, each))(*inputs)
    print(json.dumps({name: [local.numpy().tolist() for local in value.values] for name, value in seen.items()}))


if __name__ == "__main__":
    main()
