"""Addresses for processes that tests start."""

from tests.free_ports import free_ports


def free_addresses(count: int) -> list[str]:
    """`host:port` of this machine at which nobody listens, all different."""
    return [f"localhost:{port}" for port in free_ports(count)]
