#!/usr/bin/env python3
"""Compares the ABI of the headers with abi/libdeepspeed.abi: abidiff_test.py CC [--write].

The baseline is what was promised. What abidiff reports, but new functions and what
abi/abidiff.suppr allows, is a break. --write makes a new baseline: only when nothing is reported, or
the promise is given up for a new SONAME.
"""
import pathlib
import subprocess
import sys
import tempfile

from toolbox import ROOT, build_stub, need, run

BASELINE = ROOT / "abi" / "libdeepspeed.abi"
SUPPRESSIONS = ROOT / "abi" / "abidiff.suppr"
INCLUDE = ROOT / "include" / "deepspeed"


def describe(library):
    """The ABI as text that names no path and no place in a source."""
    return run("abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs",
               "--drop-private-types", "--headers-dir", INCLUDE, "--type-id-style", "hash", library)


def main():
    cc = sys.argv[1]
    need(cc, "abidw", "abidiff")
    with tempfile.TemporaryDirectory() as name:
        library = build_stub(cc, INCLUDE, ROOT / "libdeepspeed.map", pathlib.Path(name))
        text = describe(library)
        if "--write" in sys.argv[2:]:
            BASELINE.write_text(text)
            return
        new = pathlib.Path(name) / "new.abi"
        new.write_text(text)
        result = subprocess.run(["abidiff", "--no-added-syms", "--suppressions", SUPPRESSIONS,
                                 BASELINE, new], capture_output=True, text=True)
        print(result.stdout + result.stderr)
        if result.returncode:
            sys.exit(f"abidiff ended with {result.returncode}: the headers break {BASELINE.name}")
        print("no break" + ("" if text == BASELINE.read_text() else
                            "; after a release write a new baseline"))


if __name__ == "__main__":
    main()
