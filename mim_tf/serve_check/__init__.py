"""The comparison of all ways to ask an exported model: `python -m mim_tf.serve_check`."""
