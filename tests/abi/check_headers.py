#!/usr/bin/env python3
"""Compiles each public header alone: check_headers.py CC CXX.

C headers as C99 and C++11, the RAII layer as C++11 to C++20; nothing may warn.
"""
import pathlib
import subprocess
import sys
import tempfile

from toolbox import ROOT, need

FLAGS = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT}/include"]
STANDARDS = {".h": (("c", "c99"), ("c++", "c++11")),
             ".hpp": (("c++", "c++11"), ("c++", "c++17"), ("c++", "c++20"))}


def main():
    compiler = {"c": sys.argv[1], "c++": sys.argv[2]}
    need(*compiler.values())
    failed = compiled = 0
    with tempfile.TemporaryDirectory() as folder:
        for header in sorted((ROOT / "include" / "deepspeed").iterdir()):
            for language, standard in STANDARDS.get(header.suffix, ()):
                source = pathlib.Path(folder) / "alone"
                # Twice: the guard is part of standing alone.
                source.write_text(f"#include <deepspeed/{header.name}>\n" * 2)
                command = [compiler[language], "-x", language, f"-std={standard}", *FLAGS, source]
                result = subprocess.run(command, capture_output=True, text=True)
                compiled += 1
                if result.returncode:
                    print(f"{header.name} as {standard}:\n{result.stderr}")
                    failed += 1
    print(f"{compiled} compilations, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
