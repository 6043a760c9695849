#!/usr/bin/env python3
"""Writes link_test.c, init_test.c and null_test.c from the public headers into a folder.

A function that is added to a header is tested by them without a line being written here; the
tables below hold only what a declaration cannot say.
"""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import public_headers  # noqa: E402

OBJECTS = ("ds_comm", "ds_engine", "ds_param")
# Objects that belong to no group: they are given too, but no lost rank concerns them.
LOCAL_OBJECTS = ("ds_optim", "ds_lr_schedule", "ds_loss_scaler")
# Zero is a valid argument for all but the output.
ZERO_IS_VALID = {"ds_comm_create_self", "ds_comm_create_mpi", "ds_engine_create", "ds_config_schema",
                 "ds_config_defaults", "ds_loss_scaler_create"}
# A valid object is enough: what else these take is optional.
OBJECT_IS_ENOUGH = {"ds_engine_step"}
# Answers that do not depend on the health of the group.
SURVIVES_LOSS = {"ds_comm_get_rank", "ds_comm_get_size", "ds_comm_abort", "ds_param_get_name",
                 "ds_param_get_numel", "ds_engine_get_memory", "ds_engine_get_config"}


def pointee(param):
    return param.type.removeprefix("const ").removesuffix("*").strip()


def is_object(param, kinds=OBJECTS + LOCAL_OBJECTS):
    return param.is_pointer and not param.is_out and pointee(param) in kinds


def sized_struct(abi, param):
    struct = abi.struct(pointee(param)) if param.is_pointer else None
    return struct if struct and struct.fields[0] == "struct_size" else None


def call(abi, function, objects=False, outs=False, wrong=None):
    """C text of one call. Objects and outputs are given or NULL; every other argument is zero.

    wrong: (struct name, struct_size, fill): that struct is given malformed; then plain numbers are
    1, so that nothing else is wrong with the call.
    """
    declarations, lines, arguments, checks = [], [], [], []
    if wrong:
        name, size, fill = wrong
        declarations.append("    cell wrong;")
        lines.append(f"    wrong_struct(&wrong, sizeof({name}), {size}, {fill});")
    for param in function.params:
        if param.is_out and outs:
            cell, before = param.name, f"{param.name}_before"
            declarations.append(f"    cell {cell}, {before};")
            lines.append(f"    poison(&{cell});")
            if sized_struct(abi, param):
                lines.append(f"    set_size(&{cell}, sizeof({pointee(param)}));")
            lines.append(f"    {before} = {cell};")
            checks.append(f'    untouched("{function.name}", &{cell}, &{before});')
            arguments.append(f"({param.type})(void *){cell}.bytes")
        elif is_object(param) and objects:
            arguments.append(f"f->{pointee(param).removeprefix('ds_')}")
        elif wrong and param.is_pointer and pointee(param) == wrong[0]:
            arguments.append(f"({param.type})(void *)wrong.bytes")
        elif param.is_pointer or param.type.endswith("_fn"):
            arguments.append("NULL")
        else:
            arguments.append(f"({param.type}){1 if wrong else 0}")
    lines.append(f'    refused("{function.name}", {function.name}({", ".join(arguments)}));')
    return "\n".join(["  {"] + declarations + lines + checks + ["  }"])


def wrong_struct_calls(abi, function):
    """One call per way in which a caller's struct may be wrong."""
    calls = []
    for param in function.params:
        struct = sized_struct(abi, param)
        if struct and not param.is_out:
            for size, fill in (("0", 0), ("1", 0), ("(size_t)1 << 20", 0),
                               (f"sizeof({struct.name}) + 8", 1)):
                calls.append(call(abi, function, objects=True, outs=True,
                                  wrong=(struct.name, size, fill)))
    return calls


def null_test(abi):
    fallible = [f for f in abi.functions if f.is_fallible]
    out = ["/* Made by tests/abi/make_sources.py. */", '#include "null_fixture.h"', ""]

    out += ["void test_null(void) {"]
    for f in fallible:
        if any(p.is_pointer for p in f.params):
            out.append(call(abi, f))
        if any(p.is_out for p in f.params) and f.name not in ZERO_IS_VALID:
            out.append(call(abi, f, outs=True))
    for f in abi.functions:
        if f.is_fallible:
            continue
        zeros = ", ".join("NULL" if p.is_pointer else f"({p.type})0" for p in f.params)
        text = f"{f.name}({zeros})"
        if f.returns == "const char *":
            out.append(f'  check({text} != NULL, "{f.name}", "returns NULL");')
        elif f.returns == "ds_error *":
            out.append(f"  ds_error_destroy({text});")
        else:
            out.append(f"  (void){text};")
    out += ["}", "", "void test_arguments(const fixture *f) {"]
    for f in fallible:
        others = [p for p in f.params if not is_object(p) and p.is_pointer]
        if any(is_object(p) for p in f.params) and others and f.name not in OBJECT_IS_ENOUGH:
            out.append(call(abi, f, objects=True))
    for f in fallible:
        out += wrong_struct_calls(abi, f)
    out += ["}", "", "void test_lost(const fixture *f) {"]
    for f in fallible:
        if any(is_object(p, OBJECTS) for p in f.params) and f.name not in SURVIVES_LOSS:
            out.append(call(abi, f, objects=True, outs=True))
    return "\n".join(out + ["}", ""])


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


def main():
    folder = pathlib.Path(sys.argv[1])
    abi = public_headers.read()
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("link_test.c", link_test(abi)), ("init_test.c", init_test(abi)),
                       ("null_cases.c", null_test(abi))):
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
