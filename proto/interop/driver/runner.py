"""Runs one suite of one client and hears its results."""
import json
import queue
import signal
import threading
import time
from dataclasses import asdict, dataclass

from .process import Child


@dataclass
class Result:
    """One case of one client."""
    client: str
    suite: str
    case: str
    outcome: str
    seconds: float = 0.0
    detail: str = ""

    def as_dict(self):
        return asdict(self)


def run_suite(client, suite, cluster, against, only, directory, tell):
    """All results of the suite; a program that ends early or stays too long is a failed case of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    command = client.command_for(suite, cluster, against, only, directory)
    child = Child(f"{client.name}-{suite}", command, directory / "err.log", env={"HOME": str(directory)},
                  cwd=directory, pipes=True)
    lines = queue.Queue()
    threading.Thread(target=_pump, args=(child, lines), daemon=True).start()
    results, deadline, finished = [], time.monotonic() + client.deadline_s, False
    while not finished:
        try:
            line = lines.get(timeout=max(0.1, deadline - time.monotonic()))
        except queue.Empty:
            results.append(_broken(client, suite, f"still running after {client.deadline_s} s\n{child.tail(30)}"))
            break
        if line is None:
            break
        finished = _hear(line, client, suite, cluster, child, results, tell)
    child.end(signal.SIGTERM, 5.0)
    if not finished and not (results and results[-1].case == "the program itself"):
        results.append(_broken(client, suite, f"ended with {child.process.returncode} before it was done\n{child.tail(30)}"))
    for name in cluster.dead():
        results.append(_broken(client, suite, f"broker {name} died: {cluster.brokers[name].child.tail()}"))
    return results


def _pump(child, lines):
    for line in child.process.stdout:
        lines.put(line)
    lines.put(None)


def _hear(line, client, suite, cluster, child, results, tell):
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        with open(child.log_path, "a", encoding="utf-8") as log:
            log.write(line)
        return False
    if "ask" in said:
        child.process.stdin.write(_obey(said["ask"], cluster) + "\n")
        child.process.stdin.flush()
    if "case" in said:
        results.append(Result(client.name, suite, said["case"], said["outcome"], round(said.get("seconds", 0), 2),
                              said.get("detail", "")))
        tell(results[-1])
    return bool(said.get("done"))


def _obey(request, cluster):
    verb, _, broker = request.partition(" ")
    try:
        if verb == "stop":
            cluster.stop_broker(broker, signal.SIGTERM)
        elif verb == "kill":
            cluster.stop_broker(broker, signal.SIGKILL)
        elif verb == "start":
            cluster.start_broker(broker)
        elif verb == "reset":
            cluster.reset_offsets(*broker.split(" "))
        else:
            return f"what is {verb}?"
        return "done"
    except Exception as error:  # noqa: BLE001 - the case that asked reports it
        return " ".join(str(error).split())


def _broken(client, suite, why):
    return Result(client.name, suite, "the program itself", "failed", 0.0, why)
