#!/usr/bin/env python3
"""Ten thousand silent connections, random bytes, lying frames: what a broker on the loopback answers.

    benches/torture/hostile.py PORT      (run a load generator beside it, and look at its latency and the broker's memory)

Prints one line per kind of input. Leaves with 1 when a silent connection outlives its deadline, or bad input is answered
with anything but one sentence or a closed connection.
"""
import os
import random
import socket
import sys
import time

PREAMBLE = bytes([0xB1, 0x52, 0x4D, 0x51, 1, 0, 0, 0])
SILENT = 10_000
PORT = int(sys.argv[1])
failures = []


def connect():
    connection = socket.socket()
    connection.connect(("127.0.0.1", PORT))
    return connection


def probe(name, data, wait_s=4.0):
    """Sends `data`, and says how the connection ended."""
    with connect() as connection:
        connection.settimeout(wait_s)
        received = b""
        outcome = "closed"
        try:
            connection.sendall(data)
            while chunk := connection.recv(4096):
                received += chunk
        except TimeoutError:
            outcome = "still open"
            failures.append(name)
        except OSError:
            outcome = "reset"
        said = f" after {len(received)} bytes: {received[:48]!r}" if received else ""
        print(f"{name:32} {outcome}{said}", flush=True)


silent = [connect() for _ in range(SILENT)]
print(f"{SILENT} silent connections are open", flush=True)
random.seed(1)
probe("HTTP", b"GET / HTTP/1.1\r\n\r\n")
probe("random bytes", os.urandom(4096))
probe("an unknown native version", bytes([0xB1, 0x52, 0x4D, 0x51, 99, 0, 0, 0]) + bytes(64))
probe("random bytes for a hello", PREAMBLE + os.urandom(256))
probe("a frame of 2 GiB", PREAMBLE + b"\xff\xff\xff\x7f" + bytes([1, 0, 0, 0]) + bytes(8))
probe("a frame that never ends", PREAMBLE + b"\x00\x01\x00\x00" + bytes([1, 0, 0, 0]) + bytes(20))
for number in range(300):
    data = os.urandom(random.randrange(1, 2000))
    try:
        with connect() as connection:
            connection.sendall(PREAMBLE + data if number % 2 else data)
    except OSError:
        pass
print("300 more of random lengths")
time.sleep(4)
left = 0
for connection in silent:
    connection.setblocking(False)
    try:
        left += connection.recv(1) != b""
    except BlockingIOError:
        left += 1
    except OSError:
        pass
print(f"{SILENT - left} of {SILENT} silent connections were closed at their deadline")
sys.exit(1 if left or failures else 0)
