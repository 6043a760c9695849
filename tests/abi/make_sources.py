#!/usr/bin/env python3
"""Writes the generated sources of the ABI tests from the public headers into a folder.

A function that is added to a header is tested by them without a line being written here; what a
declaration and its contract cannot say stands in the tables of matrix.py.
"""
import pathlib
import sys

from toolbox import public_headers
import annotations
import matrix


def link_test(abi):
    """Takes the address of every function: a declaration without a definition does not link."""
    out = ["/* Made by tests/abi/make_sources.py. */", "#include <deepspeed/deepspeed.h>",
           "typedef void (*any_fn)(void);", "int main(void) {", "  any_fn volatile functions[] = {"]
    out += [f"      (any_fn){f.name}," for f in abi.functions]
    out += ["  };", "  size_t i;",
            "  for (i = 0; i < sizeof(functions) / sizeof(functions[0]); ++i) {",
            "    if (functions[i] == NULL) return 1;", "  }", "  return 0;", "}", ""]
    return "\n".join(out)


def init_test(abi):
    """Every field that an _INIT macro sets, except struct_size, is zero: its default."""
    out = ["/* Made by tests/abi/make_sources.py. */", "#include <deepspeed/deepspeed.h>",
           "#include <stdio.h>", "#include <string.h>", "static const char zeros[4096];",
           "int main(void) {", "  int failed = 0;"]
    for name in abi.inits:
        struct = abi.struct(name)
        if struct is None:
            raise ValueError(f"{name.upper()}_INIT: no struct {name}")
        out += ["  {", f"    {name} value = {name.upper()}_INIT;"]
        for field in struct.fields:
            test = (f"value.struct_size != sizeof({name})" if field == "struct_size" else
                    f"memcmp(&value.{field}, zeros, sizeof(value.{field})) != 0")
            what = f"{name}.{field} is not {'sizeof' if field == 'struct_size' else 'zero'}"
            out += [f"    if ({test}) {{", f'      puts("{what}");', "      failed = 1;", "    }"]
        out.append("  }")
    sized = {s.name for s in abi.structs if s.fields[0] == "struct_size"}
    # Made by the library alone, so nobody needs to start one.
    without = sorted(sized - set(abi.inits) - {"ds_grad_event"})
    if without:
        raise ValueError(f"no _INIT macro for {', '.join(without)}")
    return "\n".join(out + ["  return failed;", "}", ""])


def state_names(abi, contracts):
    """The functions that state_matrix_test.c must have a row for."""
    names = [f.name for f in abi.functions
             if f.is_fallible and contracts[f.name].thread == "driver" and f.params
             and f.params[0].pointee in ("ds_engine", "ds_param", "ds_model")]
    return "\n".join(["/* Made by tests/abi/make_sources.py. */",
                      "static const char *const kStateFunctions[] = {",
                      *(f'    "{name}",' for name in names), "};", ""])


def main():
    folder = pathlib.Path(sys.argv[1])
    abi = public_headers.read()
    contracts = annotations.read(abi)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("link_test.c", link_test(abi)), ("init_test.c", init_test(abi)),
                       ("matrix_cases.c", matrix.matrix_cases(abi, contracts)),
                       ("inject_cases.c", matrix.inject_cases(abi, contracts)),
                       ("state_names.h", state_names(abi, contracts))):
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
