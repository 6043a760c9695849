"""What every table is written with: the registry, plain values, the file."""
import json
import math
import os
import random
import zlib
from unittest import mock

import deepspeed
import numpy as np
import torch

FORMAT = 1
TABLES = {}


def table(name, source):
    """Registers a function which yields the cases of one table.

    source: "current" (0.19.8, compared with 0.19.6), "only_current", "legacy".
    """
    def register(fn):
        TABLES[name] = (fn, source)
        return fn
    return register


class Ctx:
    """What a table may draw on: seeded random numbers and the variant."""

    def __init__(self, seed, variant, name):
        key = zlib.crc32(f"{seed}/{variant}/{name}".encode())
        self.rng = random.Random(key)
        self.np = np.random.default_rng(key)
        self.variant = variant

    def pick(self, *choices):
        return choices[self.variant % len(choices)]

    def normal(self, *shape, scale=1.0, digits=4):
        values = np.round(self.np.normal(0.0, scale, shape), digits)
        return torch.tensor(values, dtype=torch.float32)


def plain(value):
    """Turns a value into what JSON can hold; non-finite floats become strings."""
    if isinstance(value, torch.Tensor):
        return plain(value.tolist()) if value.dim() == 0 else f32(value)
    if isinstance(value, torch.dtype):
        return {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}.get(value, str(value))
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "model_dump"):
        return plain(value.model_dump())
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if hasattr(value, "value") and not isinstance(value, (int, float, str)):
        return plain(value.value)
    if isinstance(value, float):
        if math.isnan(value):
            return "nan"
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        return value
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str(value.value) if hasattr(value, "value") else value
    return repr(value)


def f32(tensor):
    """A tensor as a flat list; each number is the shortest one that gives the same fp32."""
    flat = tensor.detach().to(torch.float32).reshape(-1).numpy()
    out = []
    for v in flat:
        if not np.isfinite(v):
            out.append(plain(float(v)))
            continue
        short = float(str(v))
        assert np.float32(short) == v
        out.append(int(short) if short == int(short) and abs(short) < 1e9 and not (short == 0 and np.signbit(v))
                   else short)
    return out


def error_of(exc):
    """Error class and message; the link lines pydantic adds are dropped."""
    lines = [x for x in str(exc).splitlines() if "errors.pydantic.dev" not in x]
    text = " ".join(" ".join(lines).split())
    return {"type": type(exc).__name__, "message": text[:600]}


def attempt(fn, *args, **kwargs):
    """Calls fn; answers its value, or {"error": ...}."""
    try:
        return fn(*args, **kwargs)
    except Exception as exc:
        return {"error": error_of(exc)}


def is_error(value):
    return isinstance(value, dict) and set(value) == {"error"}


def write_table(path, name, cases, seed, variant, notes=""):
    head = {"format": FORMAT, "table": name, "deepspeed": deepspeed.__version__,
            "torch": torch.__version__.split("+")[0], "seed": seed, "variant": variant}
    if notes:
        head["notes"] = notes
    lines = [json.dumps(plain(c), separators=(",", ":"), allow_nan=False) for c in cases]
    with open(path, "w") as out:
        out.write(json.dumps(head)[:-1] + ',\n"cases":[\n' + ",\n".join(lines) + "\n]}\n")
    print(f"{name}: {len(lines)} cases, {os.path.getsize(path)} bytes", flush=True)


NOT_COMPARED = ("skipped", )  # a question which only the newer release answers


def attach_legacy(cases, old_cases):
    """Marks each case whose 0.19.6 answer differs."""
    old = {c["id"]: c for c in old_cases}
    changed = 0
    for case in cases:
        was = old.get(case["id"])
        now = {k: v for k, v in plain(case).items() if k not in NOT_COMPARED}
        if was is None or was == now:
            continue
        case["v0_19_6"] = {k: was.get(k) for k in sorted(set(was) | set(now)) if was.get(k) != now.get(k)}
        changed += 1
    return changed


def world_of(size):
    """DeepSpeedConfig asks deepspeed.comm for the world size; answer `size`."""
    return mock.patch("deepspeed.comm.get_world_size", lambda group=None: size)


def max_abs_diff(a, b):
    return float((a.double() - b.double()).abs().max()) if a.numel() else 0.0


def max_ulp(a, b):
    """Largest distance of two fp32 tensors, counted in representable numbers."""
    def ordered(t):
        i = t.detach().float().contiguous().view(torch.int32).to(torch.int64)
        return torch.where(i < 0, -(i & 0x7FFFFFFF), i)
    return int((ordered(a) - ordered(b)).abs().max())
