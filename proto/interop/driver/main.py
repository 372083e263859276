"""The one command: prepares, starts clusters, runs clients side by side, reports."""
import argparse
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import report
from .apache import Apache
from .build import TARGET
from .clients import CLUSTER, FLEET, MAIN, SHARDS, known_clients
from .cluster import Cluster
from .process import end_with_signals
from .ringmq import RingMQ
from .runner import Result, run_suite

SOFTWARE = {"ringmq": RingMQ, "apache-5.3.3": lambda space: Apache("5.3.3", space),
            "apache-4.9.8": lambda space: Apache("4.9.8", space)}

# What each suite runs on. The suites of one cluster that stop brokers run one after another.
LAYOUT = {MAIN: (["broker-a"], 1), CLUSTER: (["broker-a", "broker-b"], 1), SHARDS: (["broker-a"], 4),
          FLEET: (["broker-a", "broker-b"], 8)}


def main(arguments):
    options = _parse(arguments)
    end_with_signals()
    began = time.monotonic()
    clients = _chosen(options.only)
    workspace = Path(options.workspace) if options.workspace else TARGET / "run" / options.against
    shutil.rmtree(workspace, ignore_errors=True)
    software = SOFTWARE[options.against](workspace)
    print(f"preparing {options.against} and {', '.join(client.name for client in clients)}", flush=True)
    software.prepare()
    for client in clients:
        client.make()
    prepared = time.monotonic()
    results = _run_all(software, clients, workspace, options)
    seconds = time.monotonic() - prepared
    return _judge(results, clients, options, seconds, prepared - began)


def _run_all(software, clients, workspace, options):
    results, lock = [], threading.Lock()

    def lane(suite, width):
        jobs = [client for client in clients if suite in client.suites and suite in options.suite]
        if not jobs:
            return
        if suite in (SHARDS, FLEET) and options.against != "ringmq":
            results.extend(Result(client.name, suite, "all cases on shards", "skipped",
                                  detail="shards are RingMQ's own") for client in jobs)
            return
        names, shards = LAYOUT[suite]
        cluster = Cluster(software, workspace / suite, names, shards)
        try:
            cluster.start()
            with ThreadPoolExecutor(width) as pool:
                for found in pool.map(lambda client: run_suite(
                        client, suite, cluster, options.against, options.cases, workspace / suite / client.name, tell), jobs):
                    with lock:
                        results.extend(found)
            if not options.once:
                for client in jobs:
                    _try_again(client, suite, cluster, options, workspace / suite / f"{client.name}-again", results, lock, tell)
        except Exception as error:  # noqa: BLE001 - a cluster that does not start fails its clients, not the driver
            with lock:
                results.extend(Result(client.name, suite, "the program itself", "failed", detail=str(error))
                               for client in jobs)
        finally:
            cluster.stop()

    def tell(result):
        if result.outcome == "failed" or options.verbose:
            print(f"{result.outcome:8} {result.client:18} {result.case} {result.seconds} s", flush=True)
            if result.outcome == "failed" and options.verbose:
                print("    " + "\n    ".join(result.detail.splitlines()[:12]), flush=True)

    lanes = [threading.Thread(target=lane, args=(suite, width))
             for suite, width in ((MAIN, options.parallel), (CLUSTER, 1), (SHARDS, 1), (FLEET, 1))]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    return results


def _try_again(client, suite, cluster, options, directory, results, lock, tell):
    """What failed among many others is tried once more among few; the report names it."""
    with lock:
        failed = [result for result in results if (result.client, result.suite, result.outcome) == (client.name, suite, "failed")
                  and result.case not in report.not_yet(options.against).get(client.name, [])]
    names = [result.case for result in failed]
    if not names or "the program itself" in names:
        return
    again = {result.case: result for result in run_suite(client, suite, cluster, options.against, names, directory, tell)}
    with lock:
        for result in failed:
            second = again.get(result.case)
            if second and second.outcome == "passed":
                result.outcome, result.seconds = "passed", second.seconds
                result.detail = f"{report.SECOND_TRY}: {result.detail}"


def _judge(results, clients, options, seconds, preparing):
    names = [client.name for client in clients]
    path = Path(options.json) if options.json else TARGET / f"interop-{options.against}.json"
    repaired = report.excuse(options.against, results)
    report.write_json(path, options.against, results, seconds)
    for text in (report.skipped(results), report.failures(results)):
        if text:
            print(text)
    print(f"\nagainst {options.against}, {seconds:.0f} s (and {preparing:.0f} s of preparation)")
    print(report.table(results, names))
    if repaired:
        print(f"passed, though not-yet.json lists them (take them out): {', '.join(repaired)}")
    again = [result for result in results if result.outcome == "passed" and result.detail.startswith(report.SECOND_TRY)]
    for result in again:
        print(f"PASSED AT THE SECOND TRY {result.client} {result.suite} {result.case}: {result.detail.splitlines()[0]}")
    if options.record:
        report.record(options.against, options.suite, results, names)
    lost = [] if options.cases else report.missing(options.against, options.suite, results, names)
    for line in lost:
        print(f"TOO FEW {line}")
    failed = any(result.outcome == "failed" for result in results)
    return 1 if failed or lost else 0


def _chosen(only):
    known = known_clients()
    if not only:
        return known
    chosen = [client for client in known if any(client.name.replace("-", "").replace(".", "").startswith(
        part.replace("-", "").replace(".", "")) for part in only)]
    if not chosen:
        raise SystemExit(f"--only: none of {', '.join(client.name for client in known)}")
    return chosen


def _parse(arguments):
    parser = argparse.ArgumentParser(prog="proto/interop/run", description=__doc__)
    split = lambda text: [part for part in text.split(",") if part]  # noqa: E731
    parser.add_argument("--against", choices=sorted(SOFTWARE), default="ringmq")
    parser.add_argument("--only", type=split, default=[], help="clients, by the beginnings of their names: java49,go")
    parser.add_argument("--cases", type=split, default=[], help="cases, by name")
    parser.add_argument("--suite", type=split, default=list(LAYOUT), help="main,cluster,shards,fleet")
    parser.add_argument("--parallel", type=int, default=3, help="clients at one time on the single broker")
    parser.add_argument("--json", help="where the results go (target/interop-AGAINST.json)")
    parser.add_argument("--workspace", help="where servers and clients keep their files (target/run/AGAINST)")
    parser.add_argument("--record", action="store_true", help="write the numbers of cases into cases.json")
    parser.add_argument("--once", action="store_true", help="what fails is not tried a second time")
    parser.add_argument("--verbose", action="store_true", help="a line for each case")
    return parser.parse_args(arguments)
