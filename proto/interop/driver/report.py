"""The table, the failures, the JSON, and whether as many cases ran as the tree records."""
import json

from .build import HERE

CASES = HERE / "cases.json"
# What the detail of a case begins with that failed at first.
SECOND_TRY = "failed at first"

NOT_YET = HERE / "not-yet.json"


def table(results, clients):
    """One line a client."""
    rows = [("client", "cases ran", "passed", "failed", "skipped")]
    for client in clients:
        of = [result for result in results if result.client == client]
        count = {outcome: sum(result.outcome == outcome for result in of) for outcome in ("passed", "failed", "skipped")}
        rows.append((client, str(count["passed"] + count["failed"]), *(str(count[key]) for key in count)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) if at == 0 else cell.rjust(width)
                       for at, (cell, width) in enumerate(zip(row, widths))) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def failures(results):
    """What was expected and what came, case by case."""
    parts = []
    for result in results:
        if result.outcome == "failed":
            detail = "\n    ".join(result.detail.splitlines())
            parts.append(f"FAILED {result.client} {result.suite} {result.case} ({result.seconds} s)\n    {detail}")
    return "\n".join(parts)


def skipped(results):
    """Each reason once, with the cases it kept from running."""
    reasons = {}
    for result in results:
        if result.outcome == "skipped":
            reasons.setdefault(result.detail, []).append(f"{result.client}:{result.case}")
    return "\n".join(f"skipped ({reason}): {', '.join(cases)}" for reason, cases in reasons.items())


def write_json(path, against, results, seconds):
    """Everything, for machines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"against": against, "seconds": round(seconds, 1),
                                "results": [result.as_dict() for result in results]}, indent=1))


def not_yet(against):
    """Client to the cases that are known to fail: named in the tree, so that each other failure fails the suite."""
    return json.loads(NOT_YET.read_text()).get(against, {}) if NOT_YET.exists() else {}


def excuse(against, results):
    """Turns known failures into skipped ones with that reason; says which of them pass and should leave the list."""
    known = not_yet(against)
    repaired = []
    for result in results:
        if result.case in known.get(result.client, []):
            if result.outcome == "failed":
                result.outcome, result.detail = "skipped", "known to fail: not-yet.json"
            elif result.outcome == "passed":
                repaired.append(f"{result.client}:{result.case}")
    return repaired


def ran(results, client):
    """Cases of a client that ran, whatever came of them."""
    return sum(result.client == client and result.case != "the program itself"
               and (result.outcome != "skipped" or result.detail.startswith("known to fail"))
               for result in results)


def recorded(against, suites):
    """Client to the number of cases that must run in these suites, from cases.json."""
    return json.loads(CASES.read_text()).get(f"{against} {'+'.join(sorted(suites))}", {}) if CASES.exists() else {}


def missing(against, suites, results, clients):
    """One line for each client of which fewer cases ran than cases.json says."""
    wanted = recorded(against, suites)
    return [f"{client}: {ran(results, client)} cases ran, cases.json records {wanted[client]}"
            for client in clients if ran(results, client) < wanted.get(client, 0)]


def record(against, suites, results, clients):
    """Writes what ran into cases.json."""
    everything = json.loads(CASES.read_text()) if CASES.exists() else {}
    everything.setdefault(f"{against} {'+'.join(sorted(suites))}", {}).update({client: ran(results, client) for client in clients})
    CASES.write_text(json.dumps(everything, indent=2, sort_keys=True) + "\n")
