"""The trainings of several machines, tried with processes on one: `python -m mim_tf.cluster_check`."""
