"""A name server and its brokers, whoever made them.

`Software` says how the processes of one product are started; `Cluster` starts them, waits until the name server lists
the brokers, and stops and starts single brokers while clients run.
"""
import signal
from dataclasses import dataclass, field
from pathlib import Path

from .ports import free_block
from .process import Child, Hopeless, wait_until
from .remoting import INVOKE_BROKER_TO_RESET_OFFSET, call, has_route, registered_masters

HOST = "127.0.0.1"

# Ports of one broker: RingMQ's shards lie ten apart; the VIP port is two below, Apache's replication port one above.
PORTS_PER_BROKER = 100

# What shortens the suite's waits: delays, retries (levels 3 and up), transaction checks. In RocketMQ's own names.
SHORT_WAITS = {
    "messageDelayLevel": "1s 3s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 2m",
    "transactionTimeOut": "3000",
    "transactionCheckInterval": "1000",
    "transactionCheckMax": "3",
    "transactionOpBatchInterval": "100",
}

# What the cases rely on besides. The queue of sends may wait longer than 200 ms where many share few cores.
FEATURES = {
    "enablePropertyFilter": "true",
    "traceTopicEnable": "true",
    "autoCreateTopicEnable": "true",
    "autoCreateSubscriptionGroup": "true",
    "recallMessageEnable": "true",
    "waitTimeMillsInSendQueue": "3000",
}


@dataclass
class Broker:
    """One broker process of a cluster."""
    name: str
    port: int
    directory: Path
    shards: int = 1
    child: Child = None

    @property
    def address(self):
        return f"{HOST}:{self.port}"

    def names(self):
        """What it registers as: RingMQ's shards are brokers of their own."""
        return [self.name] + [f"s{shard}-{self.name}" for shard in range(1, self.shards)]


@dataclass
class Cluster:
    """Started by `start`, ended by `stop`."""
    software: object
    directory: Path
    broker_names: list
    shards: int = 1
    settings: dict = field(default_factory=lambda: {**SHORT_WAITS, **FEATURES})
    namesrv: str = None
    brokers: dict = field(default_factory=dict)
    _namesrv_child: Child = None

    def start(self):
        first = free_block(10 + PORTS_PER_BROKER * len(self.broker_names))
        self.namesrv = f"{HOST}:{first}"
        self._namesrv_child = self.software.start_namesrv(self.directory / "namesrv", first)
        wait_until(f"name server {self.namesrv} answers", lambda: registered_masters(self.namesrv) is not None, 60)
        for index, name in enumerate(self.broker_names):
            port = first + 12 + PORTS_PER_BROKER * index
            self.brokers[name] = Broker(name, port, self.directory / name, self.shards)
            self._launch(self.brokers[name])
        for broker in self.brokers.values():
            self._wait_registered(broker)
        return self

    def stop(self):
        for broker in self.brokers.values():
            if broker.child:
                broker.child.end(signal.SIGKILL)
        if self._namesrv_child:
            self._namesrv_child.end(signal.SIGKILL)

    def start_broker(self, name):
        """Starts one that was stopped; returns when it is registered."""
        self._launch(self.brokers[name])
        self._wait_registered(self.brokers[name])

    def stop_broker(self, name, how=signal.SIGTERM):
        """Ends one in an orderly way (SIGTERM) or not (SIGKILL); returns when the process is gone."""
        self.brokers[name].child.end(how, patience_s=30)

    def masters(self):
        """Addresses of all brokers that are up."""
        return sorted(registered_masters(self.namesrv).values())

    def reset_offsets(self, group, topic, timestamp_ms):
        """Sets a group back in time on every broker, as a console would."""
        for address in self.masters():
            call(address, INVOKE_BROKER_TO_RESET_OFFSET,
                 {"topic": topic, "group": group, "timestamp": str(timestamp_ms), "isForce": "true"}, timeout=10)

    def dead(self):
        """Names of brokers whose process ended by itself."""
        return [broker.name for broker in self.brokers.values() if broker.child and not broker.child.is_running()]

    def _launch(self, broker):
        broker.child = self.software.start_broker(broker, self.namesrv, self.settings)

    def _wait_registered(self, broker):
        def registered():
            if not broker.child.is_running():
                raise Hopeless(f"{broker.name} ended: {broker.child.tail()}")
            listed = registered_masters(self.namesrv)
            return set(broker.names()) <= set(listed) and has_route(self.namesrv, "TBW102")
        try:
            wait_until(f"{broker.name} is registered", registered, 60)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{broker.child.tail()}") from None
