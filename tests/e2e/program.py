#!/usr/bin/env python3
"""What a user of the program sees: files, output, refusals."""
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402


class Files(e2e.DspeedTest):
    def test_log_and_model(self):
        done = self.train("run", "--steps", 40, "--eval-every", 20, "--lr", 0.01)
        log = self.log("run")
        self.assertEqual([row["step"] for row in log], list(range(1, 41)))
        for row in log:
            for key in ("loss", "grad_norm", "lr", "ms"):
                self.assertTrue(math.isfinite(row[key]), row)
            self.assertEqual(row["tokens"], row["step"] * 16 * 20)
        self.assertEqual([row["step"] for row in log if "val_loss" in row], [20, 40])
        self.assertLess(log[-1]["val_loss"], log[0]["loss"] - 0.5)
        self.assertIn("validation loss", done.stdout)
        self.assertIn("unigram entropy", done.stdout)
        self.assertEqual(done.stderr, "")  # no line that is rewritten where nobody watches
        lines = [line for line in done.stdout.splitlines() if line.startswith("step ")]
        self.assertEqual([line.split()[1] for line in lines], ["10/40", "20/40", "30/40", "40/40"])
        self.assertRegex(lines[0], r"^step 10/40  loss [\d.]+  norm [\d.]+  lr [\d.]+e-03  \d+ tokens/s")
        self.assertRegex(lines[1], r"validation loss [\d.]+$")
        svg = (self.folder / "run/log/loss.svg").read_text()
        self.assertTrue(svg.startswith("<svg") and svg.endswith("</svg>\n"))
        config = json.loads((self.folder / "run/model/config.json").read_text())
        self.assertEqual(config["model_type"], "gpt2")
        self.assertEqual((config["n_layer"], config["n_head"], config["n_embd"]), (2, 2, 24))
        blob = self.weights("run")
        header = json.loads(blob[8:8 + struct.unpack("<Q", blob[:8])[0]])
        self.assertEqual(header["transformer.h.1.mlp.c_fc.weight"]["shape"], [24, 96])
        self.assertEqual(header["transformer.wte.weight"]["dtype"], "F32")

    def test_generate(self):
        self.train("run", "--steps", 30, "--lr", 0.01, "--dtype", "bf16")
        model = self.folder / "run/model"
        ask = ["generate", "--model", model, "--prompt", "abc", "--tokens", 60]
        first = self.dspeed(*ask, "--seed", 3, "--top-k", 5)
        self.assertEqual(first.returncode, 0, first.stderr)
        self.assertTrue(first.stdout.startswith("abc"))
        self.assertEqual(len(first.stdout), 3 + 60 + 1)
        self.assertEqual(self.dspeed(*ask, "--seed", 3, "--top-k", 5).stdout, first.stdout)
        self.assertEqual(self.dspeed(*ask, "--seed", 3, "--top-k", 5, "--threads", 1).stdout,
                         first.stdout)
        self.assertNotEqual(self.dspeed(*ask, "--seed", 4).stdout, first.stdout)
        greedy = {self.dspeed(*ask, "--temperature", 0, "--seed", s).stdout for s in (1, 2)}
        self.assertEqual(len(greedy), 1)

    def test_report(self):
        told = json.loads(self.dspeed("report", "--json").stdout)
        self.assertGreaterEqual(told["cores"], 1)
        names = [b["name"] for b in told["backends"]]
        self.assertEqual(names, ["onednn", "simd", "mpi", "threads", "self"])
        self.assertIn("instruction set", self.dspeed("report").stdout)

    def test_report_of_a_processor_of_any_name(self):
        """As a machine says that has no UTF-8 there, or no colon; in a namespace of its own."""
        info = self.folder / "cpuinfo"
        for line, name in ((b"model name\t: Odd \xff CPU\n", "Odd \ufffd CPU"), (b"model name\n", "unknown"),
                           (b"model name:\n", "unknown"), (b"model name:X\n", "X")):
            info.write_bytes(line)
            script = f"mount --bind {info} /proc/cpuinfo || exit 77; exec {e2e.DSPEED} report --json"
            try:
                done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, timeout=60)
            except FileNotFoundError:
                self.skipTest("no unshare")
            if done.returncode == 77 or b"unshare" in done.stderr:
                self.skipTest(done.stderr.decode())
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout)["processor"], name)

    def test_without_onednn(self):
        """A copy of the program with no module near it: slower, and it says why."""
        alone = self.folder / "alone"
        alone.mkdir()
        shutil.copy(e2e.DSPEED, alone)
        environment = {"DS_MODULE_PATH": str(alone)}
        told = json.loads(self.dspeed("report", "--json", env=environment).stdout)
        self.assertEqual(told["matrix_product"], "simd")
        onednn = told["backends"][0]
        self.assertFalse(onednn["available"])
        self.assertIn("libdeepspeed_onednn.so", onednn["why"])
        self.assertIn("slower", self.dspeed("report", env=environment).stdout)
        self.train("run", "--steps", 3, "--ranks", 2, env=environment)
        self.assertIn("products by this library", self.train("again", "--steps", 1, env=environment).stdout)

    @unittest.skipUnless(os.path.exists("/proc/self"), "needs /proc")
    def test_unwritable_disk(self):
        done = self.dspeed("train", "--data", self.data, *e2e.MODEL, "--steps", 1, "--save",
                           "/proc/no/such")
        self.assert_refused(done, "/proc/no/such")


class Refusals(e2e.DspeedTest):
    def refuse(self, arguments, *parts, status=1):
        done = self.dspeed("train", "--steps", 2, "--log", self.folder / "log", "--save",
                           self.folder / "model", *arguments)
        self.assert_refused(done, *parts)
        self.assertEqual(done.returncode, status)
        self.assertFalse((self.folder / "model/model.safetensors").exists())

    def with_config(self, config):
        path = self.folder / "ds_config.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        return ["--data", self.data, *e2e.MODEL, "--config", path]

    def test_data(self):
        missing = self.folder / "missing.txt"
        self.refuse(["--data", missing], missing, "No such file")
        empty = self.folder / "empty.txt"
        empty.write_text("")
        self.refuse(["--data", empty], empty, "empty")
        short = self.folder / "short.txt"
        short.write_text("x" * 50)
        self.refuse(["--data", short, "--context", 64], short, 50, 130)
        bare = self.folder / "bare"
        bare.mkdir()
        self.refuse(["--data", bare], bare, "holds no files")

    def test_sizes(self):
        base = ["--data", self.data]
        self.refuse([*base, "--width", 100, "--heads", 3], "--width 100", "--heads 3")
        self.refuse([*base, "--layers", 0], "--layers", 0)
        self.refuse([*base, "--context", -4], "--context", -4)
        self.refuse([*base, "--batch", 10, "--ranks", 4], 10, 4)
        self.refuse([*base, "--ranks", 0], "--ranks", 0)
        self.refuse([*base, "--preset", "huge"], "--preset", "huge", "tiny")
        self.refuse([*base, "--dtype", "fp8"], "--dtype", "fp8", "bf16")
        self.refuse([*base, "--lr", -1], "--lr", -1)
        self.refuse([*base, "--layers", "two"], "--layers", "two", status=2)
        self.refuse([*base, "--no-such-flag"], "--no-such-flag", status=2)

    def test_config(self):
        self.refuse(self.with_config({"zero_optimisation": {}}), "zero_optimisation",
                    "zero_optimization")
        self.refuse(self.with_config({"amp": {"enabled": True}}), "amp")
        self.refuse(self.with_config({"fp16": {"enabled": True}, "bf16": {"enabled": True}}), "fp16", "bf16")
        self.refuse(self.with_config({"zero_optimization": {"stage": 4}}), "stage", 4)
        self.refuse(self.with_config({"zero_optimization": {
            "stage": 3, "offload_optimizer": {"device": "nvme"}}}), "offload_optimizer")
        self.refuse([*self.with_config({"train_batch_size": 8}), "--batch", 16], 8, 16)
        self.refuse([*self.with_config({"bf16": {"enabled": True}}), "--dtype", "fp32"], "bf16")
        self.refuse(self.with_config({"train_batch_size": 8, "train_micro_batch_size_per_gpu": 3,
                                      "gradient_accumulation_steps": 2}), 8, 3)
        self.refuse(self.with_config({"activation_checkpointing": {"profile": True}}),
                    "activation_checkpointing.profile", "--trace")
        self.refuse(self.with_config({"zero_optimization": {"reduce_bucket_size": 10**20}}),
                    "zero_optimization.reduce_bucket_size", 10**20)
        self.refuse(self.with_config("{not json"), "ds_config.json", "line 1")
        self.refuse(self.with_config('{"steps_per_print": 1, "steps_per_print": 2}'),
                    "steps_per_print", "twice")
        self.refuse(["--data", self.data, "--config", self.folder / "none.json"], "none.json")

    def test_cores_are_those_that_may_be_used(self):
        mine = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, mine)
        os.sched_setaffinity(0, {min(mine)})
        self.assertEqual(json.loads(self.dspeed("report", "--json").stdout)["usable_cores"], 1)
        done = self.dspeed("train", "--data", self.data, *e2e.MODEL, "--steps", 1)
        self.assertIn("compute   1 thread", done.stdout)

    def test_flags_that_need_others(self):
        done = self.dspeed("train", "--data", self.data, "--resume")
        self.assert_refused(done, "--resume", "--save")
        self.assert_refused(self.dspeed("train"), "--data")
        self.assert_refused(self.dspeed(), "command is needed")

    def test_words(self):
        """A value that is empty, or very long; output that goes nowhere."""
        for words in (["--model", ""], ["--model="], ["--save", ""]):
            self.refuse(["--data", self.data, *words], words[0].strip("="), "is empty", status=2)
        # A flag that forgot its value does not take the next flag for one, unless that is said.
        train = ["train", "--data", self.data]
        for words, flag in (([*train, "--save", "--resume"], "--save"), ([*train, "--save", "-h"], "--save"),
                            (["train", "--data", "--save", "x"], "--data"),
                            (["generate", "--prompt", "--model", "x"], "--prompt"),
                            (["tokenizer", "train", "--data", "--vocab", "300", "--out", "t"], "--data")):
            self.assert_refused(self.dspeed(*words), f"{flag} has no value")
        self.assertEqual(self.dspeed("train", "--data", self.data, *e2e.MODEL, "--steps", 1, "--save=--resume").returncode, 0)
        self.assertTrue((self.folder / "--resume/config.json").exists())
        for words in (["--preset", "x" * 5000], ["--steps", "x" * 5000]):
            done = self.dspeed("train", "--data", self.data, *words)
            self.assert_refused(done, "x" * 80 + "...")
            self.assertLess(len(done.stderr), 400)
        done = self.dspeed("train", "--help", into="/dev/full")
        self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1))
        self.assertNotIn("--tokenizer", self.dspeed("tokenizer", "train", "--help").stdout)

    def test_unwritable(self):
        blocker = self.folder / "file"
        blocker.write_text("")
        base = ["train", "--data", self.data, *e2e.MODEL, "--steps", 1]
        self.assert_refused(self.dspeed(*base, "--save", blocker / "model"), blocker)
        self.assert_refused(self.dspeed(*base, "--log", blocker), blocker)
        self.assertEqual(blocker.read_text(), "")

    def test_generate(self):
        model = self.folder / "model"
        self.assert_refused(self.dspeed("generate", "--model", model, "--prompt", "a"), model)
        self.train("run", "--steps", 1)
        model = self.folder / "run/model"
        self.assert_refused(self.dspeed("generate", "--model", model, "--prompt", ""), "--prompt")
        self.assert_refused(
            self.dspeed("generate", "--model", model, "--prompt", "a", "--temperature", -1),
            "temperature", -1)
        weights = pathlib.Path(model / "model.safetensors")
        weights.write_bytes(weights.read_bytes()[:200])
        self.assert_refused(self.dspeed("generate", "--model", model, "--prompt", "a"),
                            "model.safetensors")


if __name__ == "__main__":
    unittest.main()
