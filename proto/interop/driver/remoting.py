"""As much of RocketMQ's protocol as the driver needs to see that a cluster is up: one request, one answer."""
import json
import socket
import struct

GET_BROKER_CLUSTER_INFO = 106
GET_ROUTEINFO_BY_TOPIC = 105
INVOKE_BROKER_TO_RESET_OFFSET = 222


class Refused(Exception):
    """The other side answered with a code other than 0."""


def call(address, code, fields=None, body=b"", timeout=3.0):
    """Sends one request to `host:port` and returns (header, body) of its answer."""
    host, port = address.rsplit(":", 1)
    header = json.dumps({"code": code, "language": "PYTHON", "version": 409, "opaque": 1, "flag": 0,
                         "extFields": fields or {}}).encode()
    frame = struct.pack(">ii", 4 + len(header) + len(body), len(header)) + header + body
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.sendall(frame)
        total = struct.unpack(">i", _exactly(connection, 4))[0]
        rest = _exactly(connection, total)
    header_length = struct.unpack(">i", rest[:4])[0] & 0xFFFFFF
    answer = json.loads(rest[4:4 + header_length])
    if answer["code"] != 0:
        raise Refused(f"request {code} answered {answer['code']}: {answer.get('remark')}")
    return answer, rest[4 + header_length:]


def _exactly(connection, count):
    parts = []
    while count:
        part = connection.recv(count)
        if not part:
            raise ConnectionError("closed in the middle of a frame")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def registered_masters(namesrv):
    """Broker name to address, as the name server lists them."""
    _, body = call(namesrv, GET_BROKER_CLUSTER_INFO)
    # 4.9 writes broker ids as bare numbers, which is not JSON.
    text = body.decode().replace("{0:", '{"0":').replace(",0:", ',"0":')
    table = json.loads(text).get("brokerAddrTable") or {}
    return {name: data["brokerAddrs"]["0"] for name, data in table.items() if "0" in data["brokerAddrs"]}


def has_route(namesrv, topic):
    """Whether the name server knows the topic."""
    try:
        call(namesrv, GET_ROUTEINFO_BY_TOPIC, {"topic": topic, "acceptStandardJsonOnly": "true"})
        return True
    except Refused:
        return False
