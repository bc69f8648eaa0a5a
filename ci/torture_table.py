#!/usr/bin/env python3
"""Writes the results of torture runs into a document, between its two marks.

Usage: torture_table.py DOCUMENT MARK REPORT.json...
Fails when a run was not clean, or a kind of fault happened less often than the bar asks.
"""

import json
import sys

# How often each kind must have happened over all runs; these are slower than the others.
LEAST = {"single": 10, "cluster": 5}
LEAST_SLOW = {"disk_full": 5, "restore": 5, "sync_fails": 5, "unsynced_loss": 5}
LEAST_ACKED = {"single": 100_000, "cluster": 10_000}
# The worst time from a fault's end to service as before, in seconds.
BACK_MAX = 5.0


def short(reports):
    """What the bar asks and the runs do not have."""
    layout, kinds = reports[0]["layout"], {}
    for report in reports:
        for kind, count in report["faults"].items():
            kinds[kind] = kinds.get(kind, 0) + count
        if report["skipped"] or report["unexpected_ends"]:
            yield f"seed {report['seed']} skipped faults or saw the server end by itself"
        for name, check in report["checks"].items():
            if name != "C10" and not (check["holds"] and check["examined"] > 0):
                yield f"seed {report['seed']}: {name} does not hold"
    for kind, count in sorted(kinds.items()):
        if count < LEAST_SLOW.get(kind, LEAST[layout]):
            yield f"{kind} happened only {count} times"
    acked = sum(report["acked_commands"] for report in reports)
    if acked < LEAST_ACKED[layout]:
        yield f"only {acked} commands were acked"


def table(reports):
    """The runs, and all of them together."""
    head = ["seed", "ok", "failed", "unclear", "acked", "rolled back", "faults", "C1-C9"]
    rows = []
    for report in reports:
        operations = report["operations"]
        rows.append([
            report["seed"], operations["ok"], operations["failed"],
            operations["indeterminate"], report["acked_commands"], report["rolled_back"],
            sum(report["faults"].values()), "hold",
        ])
    sums = ["all"] + [sum(row[column] for row in rows) for column in range(1, 7)] + ["hold"]
    lines = [head, ["---"] + ["---:"] * 6 + ["---"], *rows, sums]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def kinds(reports):
    """How often each kind happened, and how fast service was back."""
    back = {}
    for report in reports:
        for kind, times in report["checks"]["C10"].get("kinds", {}).items():
            for key, value in times.items():
                known = back.setdefault(kind, {}).get(key)
                if value is not None and (known is None or value > known):
                    back[kind][key] = value
    names = sorted({kind for report in reports for kind in report["faults"]})
    yield "| fault | times | first ack after, at most (s) | rate as before after, at most (s) |"
    yield "|---|---:|---:|---:|"
    for name in names:
        count = sum(report["faults"].get(name, 0) for report in reports)
        times = back.get(name, {})
        cells = [times.get("to_first_ok_s"), times.get("to_rate_s")]
        cells = ["" if cell is None else f"{cell:.2f}" for cell in cells]
        yield f"| {name} | {count} | {cells[0]} | {cells[1]} |"


def waits(reports):
    """How long sends waited at most while all nodes were restarted one after another."""
    told = [report["checks"]["C10"]["rolling_restart"] for report in reports]
    sends = sum(one["sends"] for one in told)
    if sends:
        longest = max(one["longest_wait_s"] for one in told)
        yield ""
        yield f"{sends} sends were made during rolling restarts; the longest wait for an ack was "
        yield f"{longest:.2f} s."


def main(document, mark, files):
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    reports = sorted((json.load(open(file)) for file in files), key=lambda one: one["seed"])
    missing = list(short(reports))
    if missing:
        sys.exit("\n".join(missing))
    first = reports[0]
    text = "\n".join([
        begin,
        f"Anser {first['version']}, {len(reports)} runs of {first['seconds']} s, {first['users']} "
        f"users with {first['devices']} devices each and one more later, on {first['disk']}.",
        "",
        table(reports),
        "",
        *kinds(reports),
        *waits(reports),
        end,
    ])
    with open(document) as file:
        before, rest = file.read().split(begin)
    with open(document, "w") as file:
        file.write(before + text + rest.split(end)[1])
    print(f"{len(reports)} runs are in {document}")


main(sys.argv[1], sys.argv[2], sys.argv[3:])
