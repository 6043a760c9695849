#!/usr/bin/env python3
"""Old programs with the new library, and new ones with an old: old_client_test.py CC LIBRARY.

For each folder tests/abi/vMAJOR.MINOR, which holds the headers of that release, frozen:
  - structs have grown at their end alone, and not into their old padding, which an old program
    leaves as it finds it; src/capi/first_size.h knows how long they were;
  - client.c, compiled against those headers, runs with the library of today;
  - a program compiled against the headers of today, that calls what the old ones have, starts with
    the old library; one that calls more does not, and the loader says what is missing.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from toolbox import ROOT, build_stub, need, public_headers, run

INCLUDE = ROOT / "include" / "deepspeed"


def measure(cc, include, abi, folder):
    """{struct: (size, {field: (offset, bytes)})} as the compiler sees the headers."""
    prints = []
    for struct in abi.structs:
        prints.append(f'printf("{struct.name} %zu 0 0\\n", sizeof({struct.name}));')
        prints += [f'printf("{struct.name} 0 %zu %zu {field}\\n", offsetof({struct.name}, {field}), '
                   f"sizeof((({struct.name} *)0)->{field}));" for field in struct.fields]
    source = folder / "measure.c"
    source.write_text("#include <deepspeed/deepspeed.h>\n#include <stddef.h>\n#include <stdio.h>\n"
                      f"int main(void) {{ {' '.join(prints)} return 0; }}\n")
    run(cc, f"-I{include.parent}", source, "-o", folder / "measure")
    layout = {}
    for line in run(folder / "measure").splitlines():
        name, size, offset, length, *field = line.split()
        entry = layout.setdefault(name, [0, {}])
        if field:
            entry[1][field[0]] = (int(offset), int(length))
        else:
            entry[0] = int(size)
    return layout


def layout_breaks(abi, old, new, release):
    for name, (size, fields) in old.items():
        if name not in new:
            yield f"{name} of {release} is gone"
            continue
        new_size, new_fields = new[name]
        for field, place in fields.items():
            if new_fields.get(field) != place:
                yield (f"{name}.{field} was {place[1]} bytes at {place[0]} in {release} and is "
                       f"{new_fields.get(field)}")
        if not abi.struct(name).is_sized and new_size != size:
            yield f"{name} had {size} bytes in {release} and has {new_size}; it cannot say its size"
        for field in sorted(set(new_fields) - set(fields)):
            if new_fields[field][0] < size:
                yield (f"{name}.{field} lies at {new_fields[field][0]}, in the {size} bytes of "
                       f"{release}: in padding that old programs do not clear")


def first_size_breaks(abi, old, release):
    text = (ROOT / "src" / "capi" / "first_size.h").read_text()
    known = {name: int(size) for name, size in re.findall(r"kFirstSize<(\w+)> = (\d+);", text)}
    for name, (size, _) in old.items():
        if abi.struct(name).is_sized and name != "ds_grad_event" and known.get(name) != size:
            yield (f"first_size.h says {known.get(name)} for {name}, which had {size} bytes in "
                   f"{release}")


def run_old_client(cc, library, release, folder):
    program = folder / "client"
    run(cc, "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{release}/include",
        release / "client.c", "-o", program, library, f"-Wl,-rpath,{library.parent}")
    print(f"{release.name}: client.c: {run(program).strip()}")


def load_with_old(cc, library, stub, functions, folder):
    """The exit status and words of a program of today that calls `functions`."""
    source, program = folder / "load.c", folder / "load"
    addresses = ", ".join(f"(any_fn){name}" for name in functions)
    source.write_text("#include <deepspeed/deepspeed.h>\ntypedef void (*any_fn)(void);\n"
                      "int main(void) {\n"
                      f"  any_fn volatile used[] = {{{addresses}}};\n"
                      "  return used[0] != NULL && ds_version() == 0 ? 0 : 2;\n}\n")
    run(cc, "-w", f"-I{INCLUDE.parent}", source, "-o", program, library)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(stub.parent), "LD_BIND_NOW": "1"}
    result = subprocess.run([program], env=environment, capture_output=True, text=True)
    return result.returncode, result.stderr


def load_breaks(cc, library, release, old_abi, new_abi, folder):
    stub = build_stub(cc, release / "include" / "deepspeed", release / "libdeepspeed.map", folder)
    old = [f.name for f in old_abi.functions]
    status, words = load_with_old(cc, library, stub, old, folder)
    if status:
        yield f"with the library of {release.name} a program of today ends with {status}: {words}"
    for name in sorted({f.name for f in new_abi.functions} - set(old))[:1]:
        status, words = load_with_old(cc, library, stub, [name], folder)
        if status != 127 or name not in words:
            yield f"{name} is not in {release.name}, but the program ended with {status}: {words}"


def main():
    cc, library = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    sanitized = "--sanitized" in sys.argv[3:]
    need(cc)
    new_abi = public_headers.read()
    problems = []
    releases = sorted(pathlib.Path(__file__).parent.glob("v*.*"))
    for release in releases:
        with tempfile.TemporaryDirectory() as name:
            folder, include = pathlib.Path(name), release / "include" / "deepspeed"
            old_abi = public_headers.read(include)
            old = measure(cc, include, old_abi, folder)
            problems += layout_breaks(new_abi, old, measure(cc, INCLUDE, new_abi, folder),
                                      release.name)
            problems += first_size_breaks(new_abi, old, release.name)
            if not sanitized:
                run_old_client(cc, library, release, folder)
                problems += load_breaks(cc, library, release, old_abi, new_abi, folder)
    if not releases:
        problems.append("no folder tests/abi/vMAJOR.MINOR")
    print("\n".join(problems) or f"{len(releases)} old releases, none broken")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
