"""Serving: a client of TF Serving and a stand-in server. Knows only signatures.

`mim_tf.serving.client.Client` calls either server; `mim_tf.serving.server.Server` is the stand-in, which
`python -m mim_tf.serving` starts. Importing this package imports no TensorFlow.
"""
