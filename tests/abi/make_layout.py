#!/usr/bin/env python3
"""Writes or checks layout_golden.c: size, offsets and values of every public struct and enum.

  make_layout.py CC           writes it
  make_layout.py CC --check   fails if the headers say something else

The numbers are those the compiler gives, so the committed file is what a release promised, and a
changed header shows up in review as a changed number.
"""
import pathlib
import subprocess
import sys
import tempfile

from toolbox import ROOT, need, public_headers

GOLDEN = pathlib.Path(__file__).with_name("layout_golden.c")


def expressions(abi):
    for enum in abi.enums:
        yield f"sizeof({enum.name})"
        for name, _ in enum.values:
            yield f"(long){name}"
    for struct in abi.structs:
        yield f"sizeof({struct.name})"
        for field in struct.fields:
            yield f"offsetof({struct.name}, {field})"


def measure(cc, names):
    prints = "\n".join(f'  printf("%ld\\n", (long)({name}));' for name in names)
    source = ("#include <deepspeed/deepspeed.h>\n#include <stdio.h>\n"
              f"int main(void) {{\n{prints}\n  return 0;\n}}\n")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "layout.c"
        path.write_text(source)
        program = path.with_suffix("")
        subprocess.run([cc, f"-I{ROOT}/include", path, "-o", program], check=True)
        return subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()


def main():
    cc = sys.argv[1]
    need(cc)
    names = list(expressions(public_headers.read()))
    lines = ["/* Layout of the public structs and enums on x86-64. Made by make_layout.py; a line",
             " * that changes or goes breaks programs that are already compiled. */",
             "/* clang-format off */", "#include <deepspeed/deepspeed.h>", "#include <stddef.h>", ""]
    for name, value in zip(names, measure(cc, names), strict=True):
        lines.append(f'_Static_assert({name} == {value}, "{name}");')
    text = "\n".join(lines) + "\n"
    if "--check" not in sys.argv[2:]:
        GOLDEN.write_text(text)
    elif not GOLDEN.exists() or GOLDEN.read_text() != text:
        sys.exit(f"{GOLDEN.name} is not what the headers say: run tests/abi/make_layout.py {cc} and read"
                 " the difference")


if __name__ == "__main__":
    main()
