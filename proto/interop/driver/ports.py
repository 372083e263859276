"""Free ports below the range that the kernel hands out to clients."""
import random
import socket


def free_block(size, host="127.0.0.1", low=12000, high=30000):
    """The first of `size` neighbouring ports that nobody listens on."""
    for _ in range(200):
        first = random.randrange(low, high, 10)
        if all(_is_free(host, port) for port in range(first, first + size)):
            return first
    raise RuntimeError(f"no {size} free ports in a row between {low} and {high}")


def _is_free(host, port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
