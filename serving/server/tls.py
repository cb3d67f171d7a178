"""TLS for the gRPC port, by TF Serving's `--ssl_config_file`."""

from __future__ import annotations

from pathlib import Path

import grpc

from mim_tf.errors import ServingError
from mim_tf.serving.server.config_files import SSLConfig, read_config

_PEM = "-----BEGIN"


def server_credentials(path: str | Path) -> grpc.ServerCredentials:
    """Reads what a server proves itself by, and what it asks of clients.

    Args:
        path: File that holds an `SSLConfig` in text format. Its `server_key`, `server_cert` and `custom_ca` are the
            PEM texts themselves, not the names of files; with `client_verify`, clients need a certificate of
            `custom_ca`.

    Raises:
        ServingError: If something is missing, unknown or no PEM text.
    """
    config = read_config(path, SSLConfig, secret=True)
    texts = {"server_key": config.server_key, "server_cert": config.server_cert}
    if config.custom_ca or config.client_verify:
        texts["custom_ca"] = config.custom_ca
    for name, text in texts.items():
        if _PEM not in text:  # which is not shown: it may be a key
            raise ServingError(f"{path}: `{name}` must be a PEM text. Received: {len(text)} characters without {_PEM}.")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
