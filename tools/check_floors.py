#!/usr/bin/env python3
"""Fails on an include under src/ that goes up, or sideways to another module of the same floor.

tools/floors.txt gives the floors. Public headers are for src/capi alone; modules/ may include
what a floor below the engine may.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'\s*#\s*include\s+([<"])(?:(\w+)/)?([^">]+)[">]')
# A backend module implements a floor-3 interface: it sees that floor and those below.
BACKEND_FLOOR = 4


def read_floors():
    floors = {}
    for line in (ROOT / "tools/floors.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            number, *names = line.split()
            floors.update({name: int(number) for name in names})
    return floors


def breach(here, here_floor, quote, there, name, floors):
    """Why this include is not allowed, or None."""
    if there == "deepspeed" or (there is None and name.startswith("ds_")):
        return None if here == "capi" else f"only capi includes the public header {name}"
    if quote == "<":
        return None
    if there is None:
        return f'write the module: #include "{here}/{name}"'
    if there not in floors:
        return None  # a library: there is no such folder in src/, or main() has said so
    if there != here and floors[there] >= here_floor:
        return f"{here} (floor {here_floor}) includes {there} (floor {floors[there]})"
    return None


def main():
    floors = read_floors()
    edges = bad = 0
    files = sorted((ROOT / "src").rglob("*")) + sorted((ROOT / "modules").rglob("*"))
    for path in files:
        if path.suffix not in {".h", ".cc", ".inc"}:
            continue
        top, here, *rest = path.relative_to(ROOT).parts
        if top == "src" and (here not in floors or not rest):
            print(f"{path.relative_to(ROOT)}: {here} is not in tools/floors.txt")
            bad += 1
            continue
        here_floor = floors[here] if top == "src" else BACKEND_FLOOR
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quote, there, name = match.groups()
            edges += quote == '"' and there is not None and there != here
            why = breach(here, here_floor, quote, there, name, floors)
            if why:
                print(f"{path.relative_to(ROOT)}:{number}: {why}")
                bad += 1
    print(f"{edges} includes between modules, {bad} against the floors")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
