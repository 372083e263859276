"""RingMQ's name server and broker, from this tree or from a folder with binaries (INTEROP_BIN)."""
import os
import subprocess
from pathlib import Path

from .process import Child

ROOT = Path(__file__).resolve().parents[3]


class RingMQ:
    """The binaries of this checkout, built in release mode unless INTEROP_BIN names a folder that has them."""

    name = "ringmq"

    def __init__(self, workspace, small=True):
        """`small`: segments and memory for tests; otherwise as a broker comes."""
        self.workspace = workspace
        self.small = small
        self.bin = None

    def prepare(self):
        given = os.environ.get("INTEROP_BIN")
        if given:
            self.bin = Path(given)
            return
        subprocess.run(["cargo", "build", "--locked", "--release", "-p", "ringmq-broker", "-p", "ringmq-namesrv"],
                       cwd=ROOT, check=True)
        self.bin = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"

    def start_namesrv(self, directory, port):
        return Child("namesrv", [self.bin / "ringmq-namesrv", "--listen", f"127.0.0.1:{port}"], directory / "out.log")

    def start_broker(self, broker, namesrv, settings):
        broker.directory.mkdir(parents=True, exist_ok=True)
        conf = broker.directory / "broker.conf"
        conf.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        size = (64 if broker.shards <= 4 else 16) << 20
        small = ["--set", f"segment={size}", "--set", f"hot-tail={size}"] if self.small else []
        command = [self.bin / "ringmq-broker", "--name", broker.name, "--namesrv", namesrv,
                   "--listen", broker.address, "--data", broker.directory / "data",
                   "--config", conf, *small]
        if broker.shards > 1:
            command += ["--shards", broker.shards]
        return Child(broker.name, command, broker.directory / "out.log")
