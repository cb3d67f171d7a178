"""NT-Xent on two replicas, printed as JSON: run by `image_views_test.py` in a process whose devices are still free."""

import json

import numpy as np
import tensorflow as tf

from mim_tf.encoders import vision_encoder
from mim_tf.pretraining.image_views import ImageViews

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
EMBEDDINGS = np.random.default_rng(0).normal(size=(2, 3, 2, 4)).astype(np.float32)  # [replicas, images, 2, dim]


def replica_step(model: ImageViews, embeddings: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Loss and gradient of one replica."""
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        loss = model.contrast(embeddings, {})["loss"]
    return loss, tape.gradient(loss, embeddings)


if __name__ == "__main__":
    with STRATEGY.scope():
        model = ImageViews(vision_encoder("resnet_toy", dim=None, image_size=32))
    shares = STRATEGY.experimental_distribute_values_from_function(
        lambda context: tf.constant(EMBEDDINGS[context.replica_id_in_sync_group])
    )
    losses, gradients = tf.function(lambda rows: STRATEGY.run(replica_step, (model, rows)))(shares)
    seen = {
        "embeddings": EMBEDDINGS.tolist(),
        "temperature": model.temperature,
        "losses": [float(loss) for loss in losses.values],
        "gradients": [gradient.numpy().tolist() for gradient in gradients.values],
    }
    print(json.dumps(seen))
