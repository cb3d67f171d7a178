"""Ports for servers that tests start later, or start again."""

import random
import socket
from contextlib import ExitStack, suppress

_PORTS = range(20_000, 32_768)  # below those that Linux gives to connections, of which one could be faster


def free_ports(count: int) -> list[int]:
    """At which nobody listens, all different."""
    draws = random.SystemRandom()  # unseeded: tests that run at the same time must not draw the same
    with ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            port = draws.choice(_PORTS)
            with suppress(OSError):  # it is taken
                held.enter_context(socket.create_server(("", port)))
                found.append(port)
        return found
