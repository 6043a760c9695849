#!/usr/bin/env python3
"""How long a step takes, ours beside PyTorch's: compare_torch_speed.py BUILD PART...

Both sides are processes of their own, because what makes PyTorch fast is set in the environment
that a process starts with. They step in turns, so that what else the machine does strikes both; a
row gives the medians and the median of the ratios of the turns. Exits with 0 when it measured,
whatever the goals, and with 1 when the two sides did not do the same work.
"""
import argparse
import contextlib
import csv
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

TOOLS = pathlib.Path(__file__).resolve().parent
CORES = len(os.sched_getaffinity(0))
# What PyTorch frees after a step is kept for the next one, and is in large pages.
TUNED = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=8589934592:glibc.malloc.hugetlb=1:"
                           "glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456"}
GPT2 = {"vocab": 50257, "context": 1024, "layers": 12, "heads": 12, "width": 768}
ADAMW = {"lr": 1e-4, "betas": [0.9, 0.95]}


class Side:
    """A process that steps when it is asked to."""

    def __init__(self, script, asked, environment):
        self.process = subprocess.Popen([sys.executable, TOOLS / script], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **environment})
        self.ask(json.dumps(asked))

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            sys.exit(f"compare-torch: a side ended with status {self.process.wait()}")

    def steps(self, count=1):
        """Their median in milliseconds, and what they arrived at."""
        told = self.ask(str(count))
        return statistics.median(told["seconds"]) * 1e3, told["value"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


class Table:
    def __init__(self, what, against):
        self.against = against
        print(f"\n{what}")
        print(f"  {'PyTorch':<44}{'ours ms':>9}{'theirs ms':>11}{'ratio':>7}{'goal':>7}          "
              f"{against}")

    def row(self, name, pairs, goal, note):
        ours, theirs = (statistics.median(column) for column in zip(*pairs))
        ratio = statistics.median(a / b for a, b in pairs)
        verdict = "" if goal is None else "met" if ratio <= goal else "MISSED"
        print(f"  {name:<44}{ours:>9.1f}{theirs:>11.1f}{ratio:>7.2f}"
              f"{'-' if goal is None else format(goal, '.2f'):>7}  {verdict:<8}{note}", flush=True)


class Machine:
    """What PyTorch can use here beyond what it does as shipped."""

    def __init__(self, folder):
        self.folder = folder
        self.compiler = shutil.which("g++") or shutil.which("clang++")
        self.compiled = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
                         "TRITON_CACHE_DIR": str(folder / "triton"), "TMPDIR": str(folder)}
        about = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
        self.wide, self.note = {}, "512-bit: a path of MKL that it shuts here as shipped"
        if "avx512f" not in about:
            self.note = "this processor has no 512-bit instructions"
        elif "GenuineIntel" in about:
            self.note = "MKL takes its 512-bit path as shipped"
        elif not self.compiler:
            self.note = "no C++ compiler: MKL's 512-bit path stays shut, and nothing is compiled"
        else:
            self.wide = self.open_wide_path()

    def open_wide_path(self):
        """MKL asks this function before it takes it, and it says no to other makers' processors."""
        source, shared = self.folder / "wide.cc", self.folder / "wide.so"
        source.write_text('extern "C" int mkl_serv_intel_cpu_true() { return 1; }\n')
        subprocess.run([self.compiler, "-shared", "-fPIC", "-o", shared, source], check=True)
        return {"LD_PRELOAD": str(shared)}


def alternate(ours, theirs, seconds, count=1):
    """Pairs of milliseconds: at least 7, for a step of PyTorch that asks for memory each time takes
    from 890 to 1490 here in one process; then as many as fit into `seconds`."""
    pairs, start = [], time.monotonic()
    while len(pairs) < 7 or (time.monotonic() - start < seconds and len(pairs) < 25):
        pairs.append((ours.steps(count)[0], theirs.steps(count)[0]))
    return pairs


def shapes():
    width, each = GPT2["width"], []
    for _ in range(GPT2["layers"]):
        for inputs, outputs in ((width, 3 * width), (width, width), (width, 4 * width),
                                (4 * width, width)):
            each += [[inputs, outputs], [outputs]]
        each += [[width]] * 4
    return [[GPT2["vocab"], width], [GPT2["context"], width], *each, [width], [width]]


def phase(options, machine):
    for dtype in ("fp32", "bf16"):
        bf16 = dtype == "bf16"
        # Numbers of 8 bits, which bf16 has too.
        asked = {"kind": "phase", "shapes": shapes(), "dtype": dtype, **ADAMW, "bf16": bf16,
                 "pattern": [((i * 37) % 255 - 127) / 2**14 for i in range(509)],
                 "threads": CORES, "library": options.library}
        table = Table(f"Norm, clipping and AdamW of GPT-2 124M, {dtype}"
                      f"{' weights and gradients beside an fp32 master' if bf16 else ''}", "norms")
        with Side("compare_torch_ours.py", asked, {}) as ours:
            norm = ours.steps(2)[1]
            for name, to_none, environment, goal in (
                    ("zero_grad to 0, malloc tuned", False, TUNED, 0.90),
                    ("zero_grad to None, malloc tuned", True, TUNED, None)):
                with Side("compare_torch_model.py", {**asked, "to_none": to_none},
                          environment) as theirs:
                    reached = theirs.steps(2)[1]
                    table.row(f"{name}{', copied to bf16' if bf16 else ''}",
                              alternate(ours, theirs, options.seconds), goal,
                              f"{norm:.4f} {reached:.4f}")


def variants(dtype, tokens, machine):
    """Name, environment, dtype, whether compiled, goal. Long steps have fewer kinds."""
    plain, tuned = (0.48, None) if dtype == "fp32" else (0.60, 0.80)
    short, fp32 = tokens < 512, dtype == "fp32"
    yield "eager, as shipped", {}, dtype, False, plain
    if short or not fp32 or not machine.wide:
        yield "eager, malloc tuned", TUNED, dtype, False, tuned
        if machine.compiler and not (fp32 and machine.wide):
            yield "compiled, malloc tuned", {**TUNED, **machine.compiled}, dtype, True, tuned
    if short and not fp32:
        yield "eager, malloc tuned, no fp32 master", TUNED, "bf16 weights", False, None
    if fp32 and machine.wide:
        wide = {**TUNED, **machine.wide}
        yield "eager, malloc tuned, 512-bit", wide, dtype, False, 0.95
        yield "compiled, malloc tuned, 512-bit", {**wide, **machine.compiled}, dtype, True, 0.95


def write_folder(options, machine):
    folder = machine.folder / "gpt2"
    config = {"model_type": "gpt2", "vocab_size": GPT2["vocab"], "n_positions": GPT2["context"],
              "n_layer": GPT2["layers"], "n_head": GPT2["heads"], "n_embd": GPT2["width"],
              "attn_pdrop": 0, "embd_pdrop": 0, "resid_pdrop": 0}
    asked = {"kind": "folder", "library": options.library, "folder": str(folder), "config": config,
             "dtype": "fp32", **ADAMW}
    with Side("compare_torch_ours.py", asked, {}):
        return str(folder)


def fp32_products_ms(options, batch, tokens):
    """The products of a step, with half the scores of attention, at the rate that dspeed bench has
    now for large ones: what a step is far from is not to be had. (In 16 bits those of a step may be
    faster than large ones.)"""
    width, layers = GPT2["width"], GPT2["layers"]
    weights = 12 * layers * width**2 + GPT2["vocab"] * width
    flops = 6 * batch * tokens * (weights + layers * width * tokens)
    told = subprocess.run([options.build / "bin/dspeed", "bench", "--json"], capture_output=True,
                          check=True).stdout
    peak = max(each["value"] for each in json.loads(told)
               if each["unit"] == "GFLOP/s" and f"f32, {CORES} thread" in each["what"])
    return flops / peak / 1e6


def gpt2(options, machine, dtype):
    folder, differs = write_folder(options, machine), False
    for batch, tokens, first in ((4, 64, 3), (1, 1024, 2)):
        count = batch * tokens
        asked = {"kind": "train", "folder": folder, "model": GPT2, "batch": batch, **ADAMW,
                 "tokens": tokens, "dtype": dtype, "threads": CORES, "library": options.library,
                 "compile": False,
                 "ids": [(i * 7919 + i // 13) % GPT2["vocab"] for i in range(count)],
                 "targets": [(i * 104729 + 5) % GPT2["vocab"] for i in range(count)]}
        table = Table(f"Training step of GPT-2 124M, {batch} x {tokens} tokens, {dtype}",
                      "losses of the first steps")
        with Side("compare_torch_ours.py", asked, {}) as ours:
            losses = [ours.steps()[1] for _ in range(first)]
            print(f"  {'ours':<87}{' '.join(f'{loss:.4f}' for loss in losses)}")
            if dtype == "fp32":
                print(f"  {'its products alone, as fast as dspeed bench':<44}"
                      f"{fp32_products_ms(options, batch, tokens):>9.1f}")
            for name, environment, kind, compiled, goal in variants(dtype, tokens, machine):
                with Side("compare_torch_model.py",
                          {**asked, "dtype": kind, "compile": compiled}, environment) as theirs:
                    reached = [theirs.steps()[1] for _ in range(first)]
                    table.row(name, alternate(ours, theirs, options.seconds), goal,
                              " ".join(f"{loss:.4f}" for loss in reached))
                differs |= abs(losses[-1] - reached[-1]) > (1e-3 if dtype == "fp32" else 5e-2)
    if differs:
        print("the losses are not those of the same work")
    return differs


def write_text(path):
    """1.1 million characters of words and lines, as many as Tiny Shakespeare has."""
    draw = random.Random(1)
    words = ["".join(draw.choices("etaoinshrdlucmfwypvbgkjqxz", k=draw.randint(1, 9)))
             for _ in range(4000)]
    with open(path, "w", encoding="utf-8") as file:
        while file.tell() < 1115394:
            line = " ".join(draw.choices(words, k=draw.randint(3, 12))).capitalize()
            file.write(line + draw.choice(".,;:!?") + "\n")


def train(options, text, log, *more):
    """A run of our preset: the median of its steps after the first ones, and its last row."""
    done = subprocess.run([options.build / "bin/dspeed", "train", "--data", text, "--preset",
                           "nanogpt-char-cpu", "--log", log, *map(str, more)],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"compare-torch: dspeed train: {done.stderr}")
    with open(log / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shutil.rmtree(log)
    return statistics.median(float(row["ms"]) for row in rows[20:]), rows[-1]


def whole_recipe(options, log):
    """The loss that nanoGPT publishes for the recipe is 1.88, on Tiny Shakespeare."""
    losses = [float(train(options, options.text, log, "--seed", seed)[1]["val_loss"])
              for seed in (1, 2, 3)]
    mean = statistics.mean(losses)
    print(f"  validation losses of the whole recipe, three seeds: "
          f"{' '.join(f'{loss:.4f}' for loss in losses)}  mean {mean:.4f}  goal 1.90  "
          f"{'met' if mean <= 1.90 else 'MISSED'}")


def nanogpt(options, machine):
    text = options.text or machine.folder / "text.txt"
    if not options.text:
        write_text(text)
    characters = text.read_text(encoding="utf-8")
    numbers = {c: i for i, c in enumerate(sorted(set(characters)))}
    asked = {"kind": "train", "dtype": "fp32", "batch": 12, "tokens": 64, "lr": 1e-3,
             "betas": [0.9, 0.99], "warmup": 100, "compile": False, "threads": CORES,
             "text": [numbers[c] for c in characters[:1000000]],
             "model": {"vocab": len(numbers), "context": 64, "layers": 4, "heads": 4, "width": 128,
                       "bias": False}}
    best, tuned = {**TUNED, **machine.wide}, "malloc tuned" + (", 512-bit" if machine.wide else "")
    kinds = [("eager, as shipped", {}, {}),
             (f"eager, {tuned}", best, {}),
             ("the same, 1 thread", best, {"threads": 1})]
    if machine.compiler:
        best = {**best, **machine.compiled}
        kinds += [(f"compiled, {tuned}", best, {"compile": True}),
                  ("the same, 1 thread", best, {"compile": True, "threads": 1})]
    table = Table("An iteration of nanoGPT's CPU recipe, dspeed train --preset nanogpt-char-cpu",
                  "losses of step 150")
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(Side("compare_torch_model.py", {**asked, **more}, environment))
                 for _, environment, more in kinds]
        reached = [side.steps(150)[1] for side in sides]
        pairs = [[] for _ in sides]
        for _ in range(9):
            for each, side in zip(pairs, sides):
                ours = train(options, text, machine.folder / "log", "--steps", 60)[0]
                each.append((ours, side.steps(40)[0]))
        loss = float(train(options, text, machine.folder / "log", "--steps", 150)[1]["loss"])
    for (name, _, _), each, theirs in zip(kinds, pairs, reached):
        table.row(name, each, 0.70, f"{loss:.4f} {theirs:.4f}")
    if options.text:
        whole_recipe(options, machine.folder / "log")


PARTS = {"phase": phase, "gpt2-fp32": functools.partial(gpt2, dtype="fp32"),
         "gpt2-bf16": functools.partial(gpt2, dtype="bf16"), "nanogpt": nanogpt}


def main():
    parser = argparse.ArgumentParser(prog="scripts/compare-torch")
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("parts", nargs="+", choices=[*PARTS], metavar="PART")
    parser.add_argument("--seconds", type=float, default=4.0, help="of measuring, for a row")
    parser.add_argument("--text", type=pathlib.Path, help="what nanogpt trains on")
    options = parser.parse_args()
    options.build = options.build.resolve()
    options.library = str(options.build / "lib/libdeepspeed.so")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the folder goes then too
    with tempfile.TemporaryDirectory(prefix="compare_torch_") as folder:
        machine = Machine(pathlib.Path(folder))
        print(f"{CORES} threads; a ratio below 1 is faster than PyTorch; {machine.note}")
        bad = [part(options, machine) for name, part in PARTS.items() if name in options.parts]
    return any(bad)


if __name__ == "__main__":
    sys.exit(main())
