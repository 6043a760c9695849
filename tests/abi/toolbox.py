"""What the ABI checks share: tools that may be missing, and a library made from headers alone."""
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import make_symbol_map  # noqa: E402
import public_headers  # noqa: E402

SKIPPED = 77


def need(*tools):
    """Ends the check as skipped when a tool is missing; as failed with DS_ABI_STRICT=1."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        print(f"not installed: {', '.join(missing)}")
        sys.exit(1 if os.environ.get("DS_ABI_STRICT") == "1" else SKIPPED)


def run(*command, **options):
    """The output of a command that must succeed."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                            **options)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {result.returncode}:\n"
                 f"{result.stdout}{result.stderr}")
    return result.stdout


def signature(function):
    params = ", ".join(f"{p.type}{'' if p.type.endswith('*') else ' '}{p.name}"
                       for p in function.params)
    return f"{function.returns} {function.name}({params or 'void'})"


def build_stub(cc, include, symbol_map, folder):
    """libdeepspeed.so.N with the interface of the headers and nothing behind it: every function
    answers 0. Its debug information is the ABI, whatever compiles the real library and however."""
    abi = public_headers.read(include)
    soname = f"libdeepspeed.so.{abi.version[0]}"
    lines = ["#include <deepspeed/deepspeed.h>"]
    for f in abi.functions:
        # Not 0 but a variable: the compiler must not fold equal functions into one.
        value = f"({f.returns})({'(size_t)' if f.returns.endswith('*') else ''}answer)"
        body = "" if f.returns == "void" else f"return {value};"
        unused = " ".join(f"(void){p.name};" for p in f.params)
        lines.append(f"{signature(f)} {{ {unused} {body} }}")
    lines.insert(1, "static volatile int answer;")
    source, library = folder / "stub.c", folder / soname
    source.write_text("\n".join(lines) + "\n")
    # Neither the folder nor the compiler's name and flags may show in what is compared.
    run(cc, "-std=c11", "-g", "-O0", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror",
        f"-ffile-prefix-map={folder}=.", f"-ffile-prefix-map={include.parent}=include",
        f"-I{include.parent}", source, "-o", library, f"-Wl,-soname,{soname}",
        f"-Wl,--version-script={symbol_map}", "-Wl,--no-undefined-version")
    return library
