#!/usr/bin/env python3
"""Writes abi/symbols-in-versions.txt: every public name and the minor version that brought it.

A name is never dropped from it: one that no header has is an error. New names get the version in
ds_base.h; a function's version must be that of its node in libdeepspeed.map. `--check` only
compares.
"""
import sys

import make_symbol_map
import public_headers

LIST = public_headers.ROOT / "abi" / "symbols-in-versions.txt"
HEAD = ("# Public names and the version that brought each. Made by tools/symbols_in_versions.py; a "
        "line\n# that changes or goes breaks programs.\n")


def names(abi):
    """(kind, name) of all that a program may have written down."""
    yield from (("function", f.name) for f in abi.functions)
    yield from (("struct", s.name) for s in abi.structs)
    yield from (("handle", name) for name in abi.handles)
    yield from (("callback", name) for name in abi.callbacks)
    for enum in abi.enums:
        yield "enum", enum.name
        yield from (("value", name) for name, _ in enum.values)
    yield from (("macro", name) for name in abi.macros if not name.startswith("DS_VERSION_"))


def main():
    abi = public_headers.read()
    current = f"{abi.version[0]}.{abi.version[1]}"
    old_text = LIST.read_text() if LIST.exists() else ""
    old = {tuple(line.split()[:2]): line.split()[2]
           for line in old_text.splitlines() if line and not line.startswith("#")}
    found = set(names(abi))
    gone = sorted(set(old) - found)
    if gone:
        sys.exit("\n".join(f"{kind} {name} of {old[kind, name]} is in no header any more"
                           for kind, name in gone))
    lines = [f"{kind} {name} {old.get((kind, name), current)}" for kind, name in sorted(found)]
    text = HEAD + "\n".join(lines) + "\n"
    nodes = make_symbol_map.read_nodes(make_symbol_map.MAP.read_text())
    in_map = {f"function {symbol} {node.removeprefix('DS_')}"
              for node, symbols in nodes.items() for symbol in symbols}
    listed = {line for line in lines if line.startswith("function ")}
    if in_map != listed:
        sys.exit("libdeepspeed.map differs: " + ", ".join(sorted(in_map ^ listed)))
    if "--check" not in sys.argv[1:]:
        LIST.write_text(text)
    elif text != old_text:
        new = sorted(f"{kind} {name}" for kind, name in found - set(old)) or ["its order"]
        sys.exit(f"{LIST.name} is out of date ({', '.join(new)}): run tools/symbols_in_versions.py")
    print(f"{len(lines)} public names, each with its version")


if __name__ == "__main__":
    main()
