#!/usr/bin/env python3
"""Writes libdeepspeed.map from the headers: one node per minor version, every name explicit.

A symbol stays in the node in which it was first released; a new one goes to the node of the
version in ds_base.h. A symbol that has left the headers is an error until the node is edited by
hand, because removing one breaks programs. `--check` only compares.
"""
import re
import sys

import public_headers

MAP = public_headers.ROOT / "libdeepspeed.map"


def read_nodes(text):
    """{node name: [symbols]} in file order."""
    return {name: re.findall(r"\b(ds_\w+);", body)
            for name, body in re.findall(r"^(DS_[\d.]+) \{(.*?)^\}", text, flags=re.S | re.M)}


def render(nodes):
    parts = []
    previous = ""
    for name, symbols in nodes.items():
        lines = [f"{name} {{", "  global:"] + [f"    {symbol};" for symbol in sorted(symbols)]
        if not previous:
            lines += ["  local:", "    *;"]
        parts.append("\n".join(lines + [f"}}{previous};"]))
        previous = f" {name}"
    return ("# The exported symbols. Made by tools/make_symbol_map.py from include/deepspeed.\n"
            + "\n".join(parts) + "\n")


def main():
    abi = public_headers.read()
    declared = [f.name for f in abi.functions]
    old = MAP.read_text() if MAP.exists() else ""
    nodes = read_nodes(old)
    released = [symbol for symbols in nodes.values() for symbol in symbols]
    gone = sorted(set(released) - set(declared))
    if gone:
        sys.exit(f"libdeepspeed.map has {', '.join(gone)}, which no header declares")
    current = nodes.setdefault(f"DS_{abi.version[0]}.{abi.version[1]}", [])
    current += sorted(set(declared) - set(released))
    new = render({name: symbols for name, symbols in nodes.items() if symbols})
    if "--check" in sys.argv[1:]:
        if new != old:
            missing = ", ".join(sorted(set(declared) - set(released))) or "its layout"
            sys.exit(f"libdeepspeed.map is out of date ({missing}): run tools/make_symbol_map.py")
        return
    MAP.write_text(new)


if __name__ == "__main__":
    main()
