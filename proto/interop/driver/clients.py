"""The clients: what each is made of, and the command that runs its cases.

A client's program gets `--namesrv`, `--suite`, `--against` and perhaps `--only`, and writes one JSON object a line:

    {"case": NAME, "outcome": "passed" | "failed" | "skipped", "seconds": S, "detail": TEXT}
    {"ask": "stop broker-b"}            answered on its standard input by a line: "done", or what went wrong;
                                        also kill, start, and reset GROUP TOPIC MILLISECONDS

Suites: `main` needs one broker; `cluster` needs `broker-a` and `broker-b`, and stops and starts the second; `shards` needs a
broker of four shards; `fleet` two brokers of eight shards each, and stops and starts the second.
"""
from dataclasses import dataclass, field

from . import build

MAIN, CLUSTER, SHARDS, FLEET = "main", "cluster", "shards", "fleet"

JAVA = ["java", "-Xmx256m", "-Xms32m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
        "-Drocketmq.client.logUseSlf4j=false", "-Drocketmq.client.logLevel=WARN", "-Drocketmq.log.level=WARN",
        "-Drocketmq.client.name=interop"]


@dataclass
class Client:
    """One client in one version."""
    name: str
    prepare: object
    suites: list
    options: list = field(default_factory=list)
    deadline_s: int = 420
    command: list = None

    def make(self):
        """Fetches and compiles; afterwards `command` is known."""
        self.command = self.prepare(self)

    def command_for(self, suite, cluster, against, only, directory):
        # Cases name their topics after the folder, so that a second try has topics of its own.
        own = [part.replace("@HOME@", str(directory)) for part in map(str, self.command)]
        command = [*own, "--namesrv", cluster.namesrv, "--suite", suite, "--against", against,
                   "--client", directory.name, "--masters", ",".join(cluster.masters()), *self.options]
        return command + (["--only", ",".join(only)] if only else [])


def _java(version, main_class="interop.Main", properties=()):
    generation = "4.9" if version.startswith("4.") else "5.x"

    def prepare(_client):
        class_path = build.compile_java(f"client-{version}", ["java/common", "java/src", f"java/src-{generation}"],
                                        build.fetch_jars(f"client-{version}"))
        return [*JAVA, "-Duser.home=@HOME@", *properties, "-cp", class_path, main_class]
    return prepare


def _spring(_client):
    class_path = build.compile_java("spring-2.2.3", ["java/common", "spring/src"], build.fetch_jars("spring-2.2.3"))
    return [*JAVA, "-Duser.home=@HOME@", "-cp", class_path, "interop.spring.Main"]


def _go(_client):
    return [build.compile_go()]


def _python(_client):
    return [build.python_environment(), build.HERE / "python" / "cases.py"]


# Few cases, for what differs on the wire when headers are binary.
BINARY = ["--cases", "send_sync,send_async,send_oneway,send_batch,send_delayed_by_level,push_concurrent,push_orderly,"
          "transaction_committed,pull_by_queue,query_by_offset_id,filter_sql92,retry_then_success"]

# What 5.3.x clients cannot do on any broker.
REQUESTS = ["--cases", "request_reply,request_reply_async,request_without_answer_times_out,send_sync,push_concurrent"]


def known_clients():
    """All of them, in the order of the report."""
    return [
        Client("java-4.9.8", _java("4.9.8"), [MAIN, CLUSTER, SHARDS, FLEET]),
        Client("java-5.3.3", _java("5.3.3"), [MAIN, CLUSTER, SHARDS]),
        Client("java-5.4.0", _java("5.4.0"), [MAIN], REQUESTS),
        Client("java-4.9.8-binary", _java("4.9.8", properties=["-Drocketmq.serialize.type=ROCKETMQ"]), [MAIN], BINARY),
        Client("spring-2.2.3", _spring, [MAIN]),
        Client("go-2.1.2", _go, [MAIN, CLUSTER, SHARDS]),
        Client("python-0.4.4", _python, [MAIN]),
        Client("mqadmin-4.9.8", _java("4.9.8", "interop.admin.Main"), [CLUSTER]),
        Client("mqadmin-5.3.3", _java("5.3.3", "interop.admin.Main"), [CLUSTER]),
    ]
