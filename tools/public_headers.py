"""Reads include/deepspeed/*.h: functions, structs, enums and _INIT macros of the C ABI.

The headers are the one source of truth; the symbol map and the ABI tests are made from this.
It understands the headers' own plain style, not C: what it cannot read is an error, never skipped.
"""
import pathlib
import re
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = ROOT / "include" / "deepspeed"


@dataclass
class Param:
    type: str  # as written, e.g. "const ds_param_desc *"
    name: str

    @property
    def is_pointer(self):
        return self.type.endswith("*")

    @property
    def is_out(self):
        return self.name.startswith("out_")

    @property
    def pointee(self):
        return self.type.removeprefix("const ").removesuffix("*").strip()


@dataclass
class Function:
    name: str
    returns: str
    params: list
    header: str

    @property
    def is_fallible(self):
        return self.nodiscard and self.returns == "ds_status"

    nodiscard: bool = False


@dataclass
class Struct:
    name: str
    fields: list  # names
    header: str
    types: list  # of the fields, as written; "" for a function

    @property
    def has_pointer(self):
        return any(kind.endswith("*") for kind in self.types)

    @property
    def is_sized(self):
        return self.fields[0] == "struct_size"


@dataclass
class Enum:
    name: str
    values: list  # (name, value text)
    header: str


@dataclass
class Abi:
    version: tuple
    functions: list = field(default_factory=list)
    structs: list = field(default_factory=list)
    enums: list = field(default_factory=list)
    handles: list = field(default_factory=list)
    inits: list = field(default_factory=list)  # struct names that have DS_..._INIT
    callbacks: list = field(default_factory=list)  # function types
    macros: list = field(default_factory=list)

    def struct(self, name):
        return next((s for s in self.structs if s.name == name), None)


def headers(folder=INCLUDE):
    return sorted(folder.glob("*.h"))


def _strip_comments(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r"//[^\n]*", " ", text)


def _read_params(text, where):
    text = " ".join(text.split())
    if text in ("", "void"):
        return []
    params = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(.+?[\s*])(\w+)\s*", part)
        if not match:
            raise ValueError(f"{where}: cannot read the parameter '{part.strip()}'")
        kind = re.sub(r"\s*\*", " *", match[1]).replace("* *", "**").strip()
        params.append(Param(kind, match[2]))
    return params


def _read_fields(body, where):
    """Names and types."""
    fields = []
    for part in body.split(";"):
        part = " ".join(part.split())
        if not part:
            continue
        match = (re.fullmatch(r".+\(\*(\w+)\)\(.*\)", part) or
                 re.fullmatch(r".+?[\s*](\w+)(?:\[\w+\])?", part))
        if not match:
            raise ValueError(f"{where}: cannot read the field '{part}'")
        kind = "" if "(*" in part else part[:match.start(1)].strip()
        fields.append((match[1], kind))
    return fields


def read(folder=INCLUDE):
    base = (folder / "ds_base.h").read_text()
    version = tuple(int(re.search(rf"#define DS_VERSION_{part} (\d+)", base)[1])
                    for part in ("MAJOR", "MINOR", "PATCH"))
    abi = Abi(version)
    for path in headers(folder):
        text = _strip_comments(path.read_text())
        macros = re.findall(r"#define (DS_\w+)", text)
        abi.macros += [macro for macro in macros if macro not in abi.macros]
        abi.inits += [macro.removesuffix("_INIT").lower() for macro in macros
                      if macro.endswith("_INIT")]
        text = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*$", "", text, flags=re.M)
        for match in re.finditer(r"typedef enum (\w+) \{(.*?)\} \1;", text, flags=re.S):
            values = re.findall(r"(\w+)\s*=\s*(\w+)", match[2])
            abi.enums.append(Enum(match[1], values, path.name))
        for match in re.finditer(r"typedef struct (\w+) \{(.*?)\} \1;", text, flags=re.S):
            fields = _read_fields(match[2], match[1])
            abi.structs.append(Struct(match[1], [name for name, _ in fields], path.name,
                                      [kind for _, kind in fields]))
        abi.callbacks += re.findall(r"typedef [^;{}]*\(\*(\w+)\)\(", text)
        abi.handles += re.findall(r"typedef struct (\w+) \1;", text)
        declared = re.findall(r"DS_API\s+([^;]+);", text)
        for declaration in declared:
            match = re.fullmatch(r"(DS_NODISCARD\s+)?(.+?[\s*])(ds_\w+)\s*\((.*)\)",
                                 declaration.strip(), flags=re.S)
            if not match:
                raise ValueError(f"{path.name}: cannot read '{' '.join(declaration.split())}'")
            returns = re.sub(r"\s*\*", " *", " ".join(match[2].split()))
            abi.functions.append(Function(match[3], returns, _read_params(match[4], match[3]),
                                          path.name, bool(match[1])))
    if not abi.functions:
        raise ValueError(f"{folder}: no DS_API declaration found")
    return abi
