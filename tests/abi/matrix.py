"""The calls of matrix_test.c and inject_test.cc, made from the headers and their contracts.

Every exported function is called with arguments that are right but for one: a NULL, a destroyed
handle, a handle of another kind, a struct of a wrong size. What is right is in the tables below, by
the name of a parameter and else by its type; a new function mostly needs no line here.
"""

# Handles of the fixture, and one of another kind for each.
HANDLES = {"ds_comm": "optim", "ds_engine": "comm", "ds_param": "engine", "ds_optim": "engine",
           "ds_lr_schedule": "loss_scaler", "ds_loss_scaler": "lr_schedule",
           "ds_model": "engine", "ds_tokenizer": "model"}
OF_A_GROUP = ("ds_comm", "ds_engine", "ds_param")
# Structs that _INIT alone does not make valid: matrix_test.c has a valid_<struct>().
FILLED = {"ds_engine_options", "ds_param_desc", "ds_grad_hook", "ds_step_hook", "ds_optim_options", "ds_optim_span",
          "ds_loss_scaler_state", "ds_tensor", "ds_log_sink", "ds_token_batch"}
BY_NAME = {"json": '"{}"', "params_json": '"{}"', "config_json": '"{\\"type\\": \\"WarmupLR\\"}"', "name": '"w"',
           "hf_config": "kModelConfig", "folder": '"/nonexistent"', "first": "2",
           "message": '"the caller says so"', "numel": "15", "dtype": "DS_DTYPE_F32",
           "fn": "rank_of_one", "is_matrix": "0", "index": "0", "read_only": "0", "beta1": "0.9",
           "beta2": "0.9", "user_data": "NULL", "mpi_comm": "NULL",
           # Beside `send`; and with a ticket the arrays would have to outlive the call.
           "recv": "(void *)(scratch.bytes + 256)", "out_ticket": "NULL"}
# Every NULL is harmless there, and nothing is reported.
SILENT = ("void", "const char *", "ds_error *", "ds_status", "ds_status_scope", "uint32_t")


class Call:
    """C text of one call whose arguments are right but for what `change` says."""

    def __init__(self, abi, contracts, function):
        self.abi, self.contract, self.function = abi, contracts[function.name], function
        self.handles = set(abi.handles)

    def handle(self, param):
        return param.is_pointer and not param.is_out and param.pointee in HANDLES

    def nullable(self, param):
        return param.name in self.contract.null + self.contract.takes

    def sized(self, param):
        struct = self.abi.struct(param.pointee) if param.is_pointer else None
        return struct if struct is not None and struct.is_sized else None

    def argument(self, param, declare, before):
        """The right argument, and what must stand before the call."""
        name = param.name
        if name in BY_NAME:
            return BY_NAME[name]
        if param.is_out:
            declare.append(f"cell {name}, {name}_was;")
            before.append(f"poison(&{name});")
            if self.sized(param):
                before.append(f"set_size(&{name}, sizeof({param.pointee}));")
            before.append(f"{name}_was = {name};")
            return f"({param.type})(void *){name}.bytes"
        if self.handle(param):
            return f"f->{param.pointee.removeprefix('ds_')}"
        if param.is_pointer and param.pointee in self.handles - {"ds_error"}:
            raise ValueError(f"{self.function.name}: the fixture has no {param.pointee}")
        if param.is_pointer and self.abi.struct(param.pointee):
            declare.append(f"cell {name};")
            before.append(f"memset(&{name}, 0, sizeof({name}));")
            if self.sized(param):
                before.append(f"set_size(&{name}, sizeof({param.pointee}));")
            if param.pointee in FILLED:
                before.append(f"valid_{param.pointee}(f, ({param.pointee} *)(void *){name}.bytes);")
            return f"({param.type})(void *){name}.bytes"
        if param.is_pointer:
            return f"({param.type})(void *)scratch.bytes"
        return f"({param.type})1"

    def clean(self):
        """What a call that succeeded leaves behind."""
        lines = []
        for name, end in self.contract.owns.items():
            param = next((p for p in self.function.params if p.name == name), None)
            if param is None or "." in end:
                continue
            kind = param.type if end == "ds_buffer_dispose" else param.pointee
            value = (f"({kind})(void *){name}.bytes" if kind == param.type else
                     f"*({param.type})(void *){name}.bytes")
            lines.append(f"{end}({value});")
        return lines

    def text(self, check, changed=None, argument="NULL", after_set_up="", scope="f"):
        """`check` is C with %s for the call. The parameter `changed` gets `argument`, after the
        statement `after_set_up`."""
        declare, before, arguments = [], [], []
        for param in self.function.params:
            if changed is param and argument is not None:
                arguments.append(argument)
            else:
                arguments.append(self.argument(param, declare, before))
        call = f"{self.function.name}({', '.join(arguments)})"
        if after_set_up:
            before.append(after_set_up)
        outs = [p.name for p in self.function.params if p.is_out and p.name not in BY_NAME and
                not (changed is p and argument is not None)]
        kept = [f'untouched("{self.function.name}", &{name}, &{name}_was);' for name in outs]
        clean = self.clean() if not (changed and changed.is_out and argument is not None) else []
        body = [*declare, "ds_status status;", *before, f"status = {call};",
                f"if (status != DS_OK) {{ {' '.join(kept)} }}",
                f"if (status == DS_OK) {{ {' '.join(clean)} }}", check]
        used = any("scratch." in line for line in body)
        return "\n".join(["  {", *([f"    cell scratch = {{{{0}}}};"] if used else []),
                          *(f"    {line}" for line in body), "  }"])


def wrong_sizes(call, param):
    """What a caller's struct_size may be, and what comes of it."""
    name, struct = param.name, param.pointee
    small = [("0", 0), ("1", 0), ("sizeof(size_t)", 0), ("(size_t)1 << 20", 0)]
    for size, _ in small:
        yield call.text(f'refused_with("{call.function.name}", status, DS_ERR_INVALID_ARGUMENT, '
                        f'"{name}.struct_size");', param, None,
                        f"set_size(&{name}, {size});" +
                        (f" {name}_was = {name};" if param.is_out else ""))
    longer = f"set_size(&{name}, sizeof({struct}) + 8);"
    if not param.is_out:
        yield call.text(f'refused_with("{call.function.name}", status, DS_ERR_UNSUPPORTED, '
                        f'"{name}");', param, None,
                        f"{longer} {name}.bytes[sizeof({struct}) + 7] = 1;")
    yield call.text(f'not_refused("{call.function.name}", status, "struct_size");', param, None,
                    longer + (f" {name}_was = {name};" if param.is_out else ""))


def null_calls(call):
    for param in call.function.params:
        if not (param.is_pointer or param.type.endswith("_fn")) or param.name == "user_data":
            continue
        if call.nullable(param):
            yield call.text(f'not_refused("{call.function.name}", status, "{param.name} is NULL");',
                            param)
        else:
            yield call.text(f'refused_with("{call.function.name}", status, '
                            f'DS_ERR_INVALID_ARGUMENT, "{param.name} is NULL");', param)


def dead_calls(call):
    for param in call.function.params:
        if call.handle(param):
            kind = param.pointee.removeprefix("ds_")
            for argument in (f"dead->{kind}", f"({param.type})(void *)f->{HANDLES[param.pointee]}"):
                yield call.text(f'refused_with("{call.function.name}", status, '
                                f'DS_ERR_INVALID_ARGUMENT, "{param.name} is not a '
                                f'{param.pointee}");', param, argument)


def function_text(name, parameters, bodies):
    unused = [f"  (void){p.split('*')[-1].strip()};" for p in parameters.split(",") if "*" in p]
    return "\n".join([f"void {name}({parameters}) {{", *unused, *bodies, "}", ""])


def silent_calls(abi):
    for f in abi.functions:
        if f.is_fallible:
            continue
        zeros = ", ".join("NULL" if p.is_pointer else f"({p.type})0" for p in f.params)
        text = f"{f.name}({zeros})"
        if f.returns == "const char *":
            yield f'  check({text} != NULL, "{f.name}", "returns NULL");'
        elif f.returns == "ds_error *":
            yield f"  ds_error_destroy({text});"
        elif f.returns in SILENT:
            yield f"  (void){text};"
        else:
            raise ValueError(f"{f.name}: returns {f.returns}, which no case is made for")


def ends_of_dead(abi, contracts):
    """Destroying what is destroyed does nothing."""
    for f in abi.functions:
        if contracts[f.name].takes and f.params[0].pointee in HANDLES:
            yield f"  {f.name}(dead->{f.params[0].pointee.removeprefix('ds_')});"


def matrix_cases(abi, contracts):
    calls = [Call(abi, contracts, f) for f in abi.functions if f.is_fallible]
    parts = ["/* Made by tests/abi/matrix.py. */", '#include "matrix_fixture.h"', "",
             "#include <string.h>", ""]
    parts.append(function_text("test_nothing", "void", silent_calls(abi)))
    parts.append(function_text("test_null", "const fixture *f",
                               [text for call in calls for text in null_calls(call)]))
    parts.append(function_text("test_sizes", "const fixture *f",
                               [text for call in calls for param in call.function.params
                                if call.sized(param) for text in wrong_sizes(call, param)]))
    parts.append(function_text("test_dead", "const fixture *f, const fixture *dead",
                               [text for call in calls for text in dead_calls(call)] +
                               list(ends_of_dead(abi, contracts))))
    lost = [call.text(f'lost("{call.function.name}", status);') for call in calls
            if call.contract.collective == "yes" and
            call.function.name not in ("ds_comm_abort", "ds_comm_create_mpi", "ds_comm_destroy")]
    parts.append(function_text("test_lost", "const fixture *f", lost))
    return "\n".join(parts)


def inject_cases(abi, contracts):
    """Every function, with all arguments right, while `plan` makes it fail: it says `want`."""
    calls = [Call(abi, contracts, f) for f in abi.functions if f.is_fallible]
    bodies = [call.text(f'refused_with("{call.function.name}", status, want, "");',
                        after_set_up="inject(plan);") for call in calls]
    return "\n".join(["/* Made by tests/abi/matrix.py. */", '#include "matrix_fixture.h"', "",
                      "#include <string.h>", "",
                      function_text("test_injected",
                                    "const fixture *f, const char *plan, ds_status want",
                                    bodies)])
