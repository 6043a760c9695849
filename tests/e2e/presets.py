#!/usr/bin/env python3
"""Presets are files: found beside the program, copied, changed, named by path."""
import json
import math
import os
import pathlib
import re
import shutil
import struct
import sys

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

NAMES = ["tiny", "small", "10m", "gpt2", "nanogpt-char-cpu"]
SMALL = {"model": {"layers": 1, "heads": 2, "width": 16, "context": 12}, "steps": 7, "eval_every": 3,
         "ds_config": {"train_batch_size": 4, "gradient_clipping": 0.5,
                       "optimizer": {"type": "AdamW", "params": {"lr": 0.02}},
                       "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2}}}}


class Presets(e2e.DspeedTest):
    def preset(self, **changes):
        path = self.folder / "mine.json"
        path.write_text(json.dumps({**SMALL, **changes}))
        return path

    def run_of(self, name, *arguments, config=None):
        self.train(name, *arguments, config=config, model=[])
        return self.log(name)

    def test_list(self):
        done = self.dspeed("train", "--list-presets")
        self.assertEqual(done.returncode, 0, done.stderr)
        beside = pathlib.Path(e2e.DSPEED).resolve().parent.parent / "share/deepspeed/presets"
        for name in NAMES:
            self.assertRegex(done.stdout, rf"(?m)^{name} +\d+ layers")
            self.assertIn(str(beside / f"{name}.json"), done.stdout)
            source = pathlib.Path(os.environ["SOURCE_DIR"]) / f"share/deepspeed/presets/{name}.json"
            self.assertEqual((beside / f"{name}.json").read_text(), source.read_text())
            self.assertIn(name, self.dspeed("train", "--help").stdout)

    def test_alone(self):
        """A program that was moved away from its files has a copy of them."""
        alone = self.folder / "alone"
        (alone / "bin").mkdir(parents=True)
        shutil.copy(e2e.DSPEED, alone / "bin")
        program, e2e.DSPEED = e2e.DSPEED, str(alone / "bin/dspeed")
        try:
            self.assertEqual(self.dspeed("train", "--list-presets").stdout.count("(in the program)"),
                             len(NAMES))
            # And one beside it is found, and outweighs the copy.
            folder = alone / "share/deepspeed/presets"
            folder.mkdir(parents=True)
            shutil.copy(self.preset(), folder / "tiny.json")
            shutil.copy(self.preset(), folder / "ours.json")
            listed = self.dspeed("train", "--list-presets").stdout
            self.assertIn(str(folder / "ours.json"), listed)
            self.assertEqual(len(self.run_of("run", "--preset", "tiny")), 7)
            self.assertEqual(len(self.run_of("run", "--preset", "ours")), 7)
            # One that is broken does not hide the others.
            (folder / "broken.json").write_text("{")
            told = self.dspeed("train", "--list-presets")
            self.assert_refused(told, folder / "broken.json")
            self.assertEqual(re.findall(r"(?m)^(\S+) +\d+ layers", told.stdout), [*NAMES, "ours"])
        finally:
            e2e.DSPEED = program

    def test_a_file(self):
        log = self.run_of("run", "--preset", self.preset())
        self.assertEqual([row["step"] for row in log], list(range(1, 8)))
        self.assertEqual([row["step"] for row in log if "val_loss" in row], [3, 6, 7])
        self.assertEqual(log[-1]["tokens"], 7 * 4 * 12)
        self.assertEqual(log[-1]["lr"], 0.02)

    def test_flags_and_config_outweigh_it(self):
        log = self.run_of("run", "--preset", self.preset(), "--steps", 4, "--batch", 8, "--lr", 0.5,
                          "--eval-every", 4)
        self.assertEqual((len(log), log[-1]["samples"], log[-1]["lr"]), (4, 32, 0.5))
        self.assertEqual([row["step"] for row in log if "val_loss" in row], [4])
        log = self.run_of("run", "--preset", self.preset(), config={
            "train_micro_batch_size_per_gpu": 2, "optimizer": {"type": "SGD", "params": {"lr": 0.25}}})
        self.assertEqual((log[-1]["samples"], log[-1]["lr"]), (14, 0.25))

    def test_without_bias(self):
        """As nanoGPT's recipe: biases are there for the format, and stay 0."""
        model = {**SMALL["model"], "bias": False}
        self.run_of("a", "--preset", self.preset(model=model), "--ranks", 2,
                    config={"zero_optimization": {"stage": 3}})
        self.run_of("b", "--preset", self.preset(model=model), "--ranks", 2, "--recompute")
        self.assertEqual(self.weights("a"), self.weights("b"))
        blob = self.weights("a")
        length = int.from_bytes(blob[:8], "little")
        tensors = json.loads(blob[8:8 + length])
        for name, tensor in tensors.items():
            if name != "__metadata__":
                begin, end = (8 + length + offset for offset in tensor["data_offsets"])
                self.assertEqual(any(blob[begin:end]), not name.endswith(".bias"), name)
        done = self.dspeed("generate", "--model", self.folder / "a/model", "--prompt", "a")
        self.assertEqual(done.returncode, 0, done.stderr)
        # It goes on to the bit, and not as a run with biases.
        self.run_of("c", "--preset", self.preset(model=model), "--ranks", 2, "--steps", 4)
        self.assert_refused(self.dspeed(*self.train_arguments(
            "c", "--preset", self.preset(), "--resume", "--ranks", 2, model=[])), "bias", "false")
        self.run_of("c", "--preset", self.preset(model=model), "--ranks", 2, "--resume")
        self.assertEqual(self.weights("c"), self.weights("a"))

    def test_nanogpt(self):
        """It is of characters, unless another tokenizer is asked for."""
        log = self.run_of("run", "--preset", "nanogpt-char-cpu", "--steps", 3)
        self.assertEqual(log[-1]["tokens"], 3 * 12 * 64)
        saved = json.loads((self.folder / "run/model/characters.json").read_text())
        self.assertEqual(saved["characters"], sorted(set(e2e.text())))
        done = self.dspeed("generate", "--model", self.folder / "run/model", "--prompt", "ab",
                           "--tokens", 9)
        self.assertEqual((done.returncode, len(done.stdout)), (0, 2 + 9 + 1), done.stderr)
        # A model that is gone on from brings its tokenizer.
        again = self.train("again", "--model", self.folder / "run/model", "--steps", 2, model=[])
        self.assertIn("nats a character", again.stdout)
        told = json.loads(self.dspeed("plan", "--json", "--data", self.data, "--preset",
                                      "nanogpt-char-cpu").stdout)
        self.assertEqual(told["parameters"], self.parameters("run"))
        self.run_of("bytes", "--preset", "nanogpt-char-cpu", "--tokenizer", "bytes", "--steps", 1)
        self.assertFalse((self.folder / "bytes/model/characters.json").exists())

    def parameters(self, name):
        blob = self.weights(name)
        header = json.loads(blob[8:8 + struct.unpack("<Q", blob[:8])[0]])
        header.pop("__metadata__", None)
        return sum(math.prod(entry["shape"]) for entry in header.values())

    def test_refusals(self):
        def refuse(*parts, text=None, **changes):
            path = self.preset(**changes)
            if text is not None:
                path.write_text(text)
            self.assert_refused(self.dspeed("train", "--data", self.data, "--preset", path),
                                "mine.json", *parts)
        refuse("layer", "layers", model={**SMALL["model"], "layer": 2})
        refuse("model.heads", "missing", model={"layers": 2})
        refuse("model.layers is -2", model={**SMALL["model"], "layers": -2})
        refuse("model.width", "string", model={**SMALL["model"], "width": "16"})
        refuse("model.width 16", "model.heads 3", model={**SMALL["model"], "heads": 3})
        refuse("steps", 2**63 - 1, 2**53, steps=2**63 - 1)
        refuse("step", "unknown", step=3)
        refuse("steps", 0, steps=0)
        refuse("ds_config", "array", ds_config=[])
        refuse("line 1", text="{")
        refuse("array", text="[]")
        ask = ["train", "--data", self.data, "--preset"]
        self.assert_refused(self.dspeed(*ask, "no/such.json"), "no/such.json")
        self.assert_refused(self.dspeed(*ask, "huge"), "huge", "tiny", "nanogpt-char-cpu")
        self.assert_refused(self.dspeed(*ask, self.preset(ds_config={"no_such_key": 1})), "mine.json", "no_such_key")
        config = self.folder / "config.json"
        config.write_text("{}")
        self.assert_refused(self.dspeed(*ask, self.preset(ds_config={"no_such_key": 1}), "--config", config),
                            "config.json, ", "mine.json", "no_such_key")


if __name__ == "__main__":
    e2e.unittest.main()
