"""Apache RocketMQ's own name server and broker, from Maven artefacts."""
from .build import fetch_jars, fetch_source_build
from .process import Child

# RocketMQ reaches into the JDK; Java 17 wants to be told that it may. The last is for its self-signed certificate.
OPENED = [
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/sun.security.x509=ALL-UNNAMED",
]

# Small files, so that a broker takes megabytes and not gigabytes of disk.
SMALL = {
    "mapedFileSizeCommitLog": str(64 << 20), "mappedFileSizeCommitLog": str(64 << 20),
    "mapedFileSizeConsumeQueue": str(60_000), "mappedFileSizeConsumeQueue": str(60_000),
    "maxIndexNum": "400000", "maxHashSlotNum": "100000",
    "mappedFileSizeTimerLog": str(8 << 20), "diskMaxUsedSpaceRatio": "95",
    "flushDiskType": "ASYNC_FLUSH",
    # An orderly stop waits for this long in 5.x.
    "brokerNotActiveTimeoutMillis": "10000",
}


# RocketMQ's defaults, on a disk that other things use too.
FULL = {"diskMaxUsedSpaceRatio": "95", "flushDiskType": "ASYNC_FLUSH"}
TUNED = ["-XX:+UseG1GC", "-XX:+AlwaysPreTouch", "-XX:MaxDirectMemorySize=4g"]
UNTUNED = ["-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=512m", "-XX:TieredStopAtLevel=1"]


class Apache:
    """One release. 4.9.8 publishes no jars of name server and broker, so these are compiled from its source release."""

    def __init__(self, version, workspace, small=True):
        """`small`: files, memory and a compiler for tests; otherwise as RocketMQ's own scripts start it, with less memory."""
        self.small = small
        self.version = version
        self.name = f"apache-{version}"
        self.workspace = workspace
        self.class_path = None

    def prepare(self):
        self.class_path = fetch_jars(self.name)
        if self.version.startswith("4."):
            classes = fetch_source_build(self.version, ["filter", "namesrv", "broker"], self.class_path)
            self.class_path = f"{classes}:{self.class_path}"

    def start_namesrv(self, directory, port):
        conf = _properties(directory, {"listenPort": port, "bindAddress": "127.0.0.1"})
        return self._java("namesrv", directory, "128m", "org.apache.rocketmq.namesrv.NamesrvStartup", ["-c", conf])

    def start_broker(self, broker, namesrv, settings):
        store = broker.directory / "store"
        conf = _properties(broker.directory, {
            **(SMALL if self.small else FULL), **settings, "brokerName": broker.name, "brokerClusterName": "DefaultCluster", "brokerId": 0,
            "brokerIP1": "127.0.0.1", "listenPort": broker.port, "haListenPort": broker.port + 1,
            "storePathRootDir": store, "storePathCommitLog": store / "commitlog", "bindAddress": "127.0.0.1"})
        return self._java(broker.name, broker.directory, "512m" if self.small else "4g", "org.apache.rocketmq.broker.BrokerStartup",
                          ["-n", namesrv, "-c", conf])

    def _java(self, name, directory, heap, main_class, arguments):
        # 4.x does not start without them.
        (directory / "conf").mkdir(parents=True, exist_ok=True)
        for of in ("namesrv", "broker"):
            (directory / "conf" / f"logback_{of}.xml").write_text("<configuration/>\n")
        command = ["java", f"-Xmx{heap}", "-Xms64m" if self.small else f"-Xms{heap}",
                   *(UNTUNED if self.small else TUNED), f"-Duser.home={directory}", "-Dtls.server.mode=permissive",
                   *OPENED, "-cp", self.class_path, main_class, *arguments]
        return Child(name, command, directory / "out.log", env={"ROCKETMQ_HOME": str(directory), "NAMESRV_ADDR": ""})


def _properties(directory, settings):
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "server.conf"
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return path
