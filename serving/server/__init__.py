"""The stand-in for TF Serving: its services over gRPC and REST, and its configuration files."""

from mim_tf.serving.server.model_config_file import ModelConfigFile
from mim_tf.serving.server.server import Server

__all__ = ["ModelConfigFile", "Server"]
