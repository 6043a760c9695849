#!/usr/bin/env python3
"""Reads the contract at the end of each exported function's comment: annotations.py [--check].

Writes abi/annotations.json, from which bindings and tests are made; --check only compares. The
grammar is in docs/ABI.md. What is missing, unknown or contradicts the declaration is an error that
names the function.
"""
import json
import re
import sys
from dataclasses import dataclass, field

import public_headers

JSON = public_headers.ROOT / "abi" / "annotations.json"
REQUIRED = ("thread", "collective", "blocking")
REPEATED = ("null", "owns", "borrows", "keeps", "takes")


@dataclass
class Contract:
    thread: str = ""
    collective: str = ""
    collective_when: str = ""
    blocking: str = ""
    null: list = field(default_factory=list)     # parameters
    owns: dict = field(default_factory=dict)     # parameter or "return" -> function or field
    borrows: dict = field(default_factory=dict)  # parameter or "return" -> (owner, until)
    keeps: dict = field(default_factory=dict)    # parameter.field -> parameter.field or ""
    takes: list = field(default_factory=list)    # parameters


def comments(folder):
    """{function: text of the comment before its declaration}"""
    found = {}
    for path in public_headers.headers(folder):
        for match in re.finditer(r"/\*\*((?:[^*]|\*(?!/))*)\*/\s*DS_API\s[^;]*?\b(ds_\w+)\s*\(",
                                 path.read_text()):
            lines = [line.strip().removeprefix("*").strip() for line in match[1].splitlines()]
            found[match[2]] = " ".join(" ".join(lines).split())
    return found


def clauses(text, problem):
    """[(key, value)] of 'thread: any; collective: no; ...' up to its full stop."""
    starts = [match.start() for match in re.finditer(r"\bthread: ", text)]
    if len(starts) != 1:
        problem("no contract ('thread: ...')" if not starts else "'thread:' twice")
        return []
    end = re.compile(r"\.(?=\s|$)").search(text, starts[0])
    if end is None:
        problem("the contract has no full stop at its end")
        return []
    return [tuple(part.strip() for part in clause.partition(":")[::2])
            for clause in text[starts[0]:end.start()].split(";")]


def read_clause(contract, key, value, problem):
    if key == "collective" and value.startswith("yes when "):
        contract.collective, contract.collective_when = "yes", value.removeprefix("yes when ")
    elif key in REQUIRED:
        allowed = ("any", "driver") if key == "thread" else ("yes", "no")
        if value not in allowed:
            problem(f"{key} is '{value}', not {' or '.join(allowed)}")
        setattr(contract, key, value)
    elif key in ("null", "takes"):
        getattr(contract, key).extend(name.strip() for name in value.split(","))
    elif key == "borrows":
        match = re.fullmatch(r"(\w+) from (\w+)(?: until (\w+))?", value)
        if match:
            contract.borrows[match[1]] = (match[2], match[3] or "")
        else:
            problem(f"borrows: '{value}' is not 'WHAT from WHOM [until FUNCTION]'")
    elif key in ("owns", "keeps"):
        what, arrow, until = (part.strip() for part in value.partition("->"))
        if key == "owns" and not arrow:
            problem(f"owns: '{value}' is not 'WHAT -> FUNCTION'")
        getattr(contract, key)[what] = until
    else:
        problem(f"unknown key '{key}', not one of {', '.join(REQUIRED + REPEATED)}")


def holds_pointer(abi, param):
    """Whether an output hands over memory: a pointer, or a struct with one in it."""
    pointee = param.type.removesuffix("*").strip()
    struct = abi.struct(pointee)
    return pointee.endswith("*") or (struct is not None and (struct.has_pointer or any(
        abi.struct(kind) is not None and abi.struct(kind).has_pointer for kind in struct.types)))


def check(abi, function, contract, problem):
    """What the declaration asks of the contract, and the other way round."""
    names = {p.name: p for p in function.params}
    functions = {f.name for f in abi.functions}
    given = set(contract.owns) | set(contract.borrows)
    for key in REQUIRED:
        if not getattr(contract, key):
            problem(f"does not say '{key}:'")
    for param in function.params:
        if param.is_out and holds_pointer(abi, param) and param.name not in given:
            problem(f"{param.name} hands memory over: 'owns:' or 'borrows:' must say whose it is")
        struct = abi.struct(param.pointee) if param.is_pointer and not param.is_out else None
        if struct and "destroy" in struct.fields and not contract.keeps:
            problem(f"{param.name} has a destroy callback: 'keeps:' must say what is held")
    if function.returns.endswith("*") and "return" not in given:
        problem("returns a pointer: 'owns: return' or 'borrows: return' must say whose it is")
    if function.name.endswith(("_destroy", "_dispose")) and not contract.takes:
        problem("ends an object: 'takes:' must say which")
    for what in [*contract.null, *contract.takes]:
        if what not in names or not (names[what].is_pointer or names[what].type.endswith("_fn")):
            problem(f"'{what}' is no pointer among its parameters")
    for what in [*given, *contract.keeps]:
        if what != "return" and what.split(".")[0] not in names:
            problem(f"'{what}' is none of its parameters")
    for end in contract.owns.values():
        if end not in functions and end.split(".")[0] not in names:
            problem(f"owns: '{end}' is no exported function")
    for owner, until in contract.borrows.values():
        if owner not in names and owner not in ("static", "thread"):
            problem(f"borrows: '{owner}' is none of its parameters, static or thread")
        if until and until not in functions:
            problem(f"borrows: '{until}' is no exported function")


def read(abi, folder=public_headers.INCLUDE):
    """{function name: Contract}; exits when one is missing or wrong."""
    texts = comments(folder)
    contracts, problems = {}, []
    for function in abi.functions:
        def problem(text, function=function):
            problems.append(f"{function.header}: {function.name}: {text}")

        if function.name not in texts:
            problem("no /** comment */ directly before it")
            continue
        contract = contracts[function.name] = Contract()
        found = clauses(texts[function.name], problem)
        for key, value in found:
            read_clause(contract, key, value, problem)
        if found:
            check(abi, function, contract, problem)
    if problems:
        sys.exit("\n".join(problems))
    return contracts


def direction(function, param, handles):
    if param.is_out:
        return "out"
    changes = param.is_pointer and not param.type.startswith("const ")
    return "inout" if changes and param.pointee not in handles and param.name != "user_data" else "in"


def describe(abi, function, contract):
    def ownership(what):
        if what in contract.owns:
            return {"owned_until": contract.owns[what]}
        if what in contract.borrows:
            owner, until = contract.borrows[what]
            return {"borrowed_from": owner, **({"borrowed_until": until} if until else {})}
        return {"taken": True} if what in contract.takes else {}

    entry = {"name": function.name, "header": function.header, "returns": function.returns,
             "fallible": function.is_fallible, "thread": contract.thread,
             "collective": contract.collective == "yes", "blocking": contract.blocking == "yes"}
    if contract.collective_when:
        entry["collective_when"] = contract.collective_when
    entry.update({f"return_{key}": value for key, value in ownership("return").items()})
    entry["params"] = [
        {"name": p.name, "type": p.type, "direction": direction(function, p, abi.handles),
         **({"nullable": True} if p.name in contract.null + contract.takes else {}),
         **ownership(p.name)} for p in function.params]
    if contract.keeps:
        entry["keeps"] = contract.keeps
    return entry


def main():
    abi = public_headers.read()
    contracts = read(abi)
    entries = [describe(abi, f, contracts[f.name]) for f in abi.functions]
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    text = f'{{"version": "{".".join(map(str, abi.version))}", "functions": [\n{lines}\n]}}\n'
    if "--check" not in sys.argv[1:]:
        JSON.parent.mkdir(exist_ok=True)
        JSON.write_text(text)
    elif not JSON.exists() or JSON.read_text() != text:
        sys.exit(f"{JSON.name} is not what the headers say: run tools/annotations.py")
    print(f"{len(entries)} functions, each with its contract")


if __name__ == "__main__":
    main()
