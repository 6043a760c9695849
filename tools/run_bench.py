#!/usr/bin/env python3
"""Runs built benchmarks and prints name, ratio, against what, goal and verdict.

scripts/bench builds them first. Each compares two ways of doing a thing, in turns in one process
(bench/ratio.h). Exits with 1 when a ratio misses its goal.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"


def run(name):
    """The rows that one benchmark prints; its other lines go to stderr as they come."""
    rows = []
    with subprocess.Popen([BUILD / "bench" / name], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("RATIO "):
                row = json.loads(line.removeprefix("RATIO "))
                row["verdict"] = "met" if row["ratio"] >= row["goal"] else "missed"
                rows.append(row)
            else:
                sys.stderr.write(line)
    if process.returncode or not rows:
        rows.append({"name": name, "ratio": 0.0, "against": "-", "goal": 0.0,
                     "verdict": f"failed (exit status {process.returncode}, {len(rows)} ratios)"})
    return rows


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--json", metavar="FILE", help="also write the rows there")
    parser.add_argument("names", nargs="+", metavar="NAME")
    arguments = parser.parse_args()

    rows = [row for name in arguments.names for row in run(name)]
    width = max([len(row["name"]) for row in rows] + [4])
    against = max([len(row["against"]) for row in rows] + [7])
    print(f"{'name':<{width}}  {'ratio':>7}  {'against':<{against}}  {'goal':>6}  verdict")
    for row in rows:
        print(f"{row['name']:<{width}}  {row['ratio']:>7.2f}  {row['against']:<{against}}"
              f"  {row['goal']:>6.2f}  {row['verdict']}")
    if arguments.json:
        target = pathlib.Path(arguments.json)
        partial = target.with_name(target.name + ".part")
        partial.write_text(json.dumps(rows, indent=1) + "\n")
        os.replace(partial, target)
    return any(row["verdict"] != "met" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
