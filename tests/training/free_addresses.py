"""Addresses for processes that tests start."""

import socket


def free_addresses(count: int) -> list[str]:
    """`host:port` of this machine at which nobody listens, all different."""
    listeners = [socket.create_server(("", 0)) for _ in range(count)]
    addresses = [f"localhost:{listener.getsockname()[1]}" for listener in listeners]
    for listener in listeners:
        listener.close()
    return addresses
