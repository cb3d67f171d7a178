"""Serving: a client library for TF Serving, a stand-in server, a load test. Knows only signatures.

`mim_tf.serving.client` calls either server; `mim_tf.serving.server` is the stand-in, which `python -m mim_tf.serving`
starts; `python -m mim_tf.serving.load` tests either. Importing this package imports no TensorFlow.
"""
