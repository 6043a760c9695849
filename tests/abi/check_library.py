#!/usr/bin/env python3
"""Compares libdeepspeed.so with what is promised: check_library.py LIBRARY [--sanitized].

Exported symbols and their versions == libdeepspeed.map == the headers; the SONAME; and that it
needs nothing that a plain machine lacks.
"""
import re
import sys

from toolbox import make_symbol_map, need, public_headers, run

ALLOWED = {"libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2"}


def compare(what, got, want, problems):
    problems += [f"{what}: {name} is missing" for name in sorted(want - got)]
    problems += [f"{what}: {name} is too much" for name in sorted(got - want)]


def main():
    library = sys.argv[1]
    need("nm", "readelf")
    problems = []
    abi = public_headers.read()
    nodes = make_symbol_map.read_nodes(make_symbol_map.MAP.read_text())
    in_map = {f"{symbol}@@{node}" for node, symbols in nodes.items() for symbol in symbols}
    compare("map against headers", {name.split("@")[0] for name in in_map},
            {f.name for f in abi.functions}, problems)
    lines = [line.split() for line in
             run("nm", "-D", "--defined-only", "--with-symbol-versions", library).splitlines()]
    # The node itself is a symbol of type A.
    exported = {parts[2] for parts in lines if parts[1] != "A"}
    compare("exported against map", exported, in_map, problems)

    dynamic = run("readelf", "-dW", library)
    soname = re.findall(r"SONAME\).*\[(.*)\]", dynamic)
    if soname != [f"libdeepspeed.so.{abi.version[0]}"]:
        problems.append(f"SONAME: {soname}, expected libdeepspeed.so.{abi.version[0]}")
    if "--sanitized" not in sys.argv[2:]:
        needed = set(re.findall(r"NEEDED\).*\[(.*)\]", dynamic))
        problems += [f"needs {name}, which a plain machine may lack"
                     for name in sorted(needed - ALLOWED)]
    print("\n".join(problems) or f"{len(exported)} symbols, as in the map and the headers")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
