#!/usr/bin/env python3
"""Models of every family: fresh ones, and folders that are gone on from."""
import json
import os
import pathlib
import shutil
import sys
import unittest

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
GOLDEN = pathlib.Path(os.environ.get("DS_GOLDEN_DIR") or
                      os.environ["SOURCE_DIR"] + "/tests/golden") / "hf"


def config(stage):
    return {"train_batch_size": 8, "gradient_clipping": 0.5, "zero_optimization": {"stage": stage}}


class Families(e2e.DspeedTest):
    def test_every_way_gives_the_same_bits(self):
        for family in FAMILIES:
            for world in (1, 2):
                first = None
                for stage, flags, threads in ((0, [], 1), (3, ["--recompute"], 2), (2, [], 2)):
                    name = f"{family}-{world}-{stage}"
                    self.train(name, "--family", family, "--ranks", world, "--steps", 3, "--seed",
                               7, "--threads", threads, *flags, config=config(stage))
                    got = (self.curve(name), self.weights(name))
                    first = first or got
                    self.assertEqual(got[0], first[0], name)
                    self.assertEqual(got[1], first[1], f"{name}: model.safetensors differs")
                told = json.loads((self.folder / name / "model/config.json").read_text())
                self.assertEqual(told["model_type"], family)

    def test_a_folder_is_gone_on_from(self):
        for family in FAMILIES:
            folder = GOLDEN / family
            self.train(family, "--model", folder, "--context", 24, "--steps", 12, "--lr", 0.003,
                       "--ranks", 2, config=config(3), model=[])
            log = self.log(family)
            self.assertLess(log[-1]["loss"], log[0]["loss"] - 0.2, family)
            # What was written is such a folder again.
            again = self.train(family + "-again", "--model", self.folder / family / "model",
                               "--context", 24, "--steps", 2, "--lr", 0.003, model=[])
            self.assertLess(self.log(family + "-again")[0]["loss"], log[0]["loss"] - 0.2)
            self.assertIn(family, again.stdout)

    def test_shards(self):
        self.train("run", "--model", GOLDEN / "llama_rope_llama3", "--context", 24, "--steps", 2,
                   model=[])
        broken = self.folder / "broken"
        shutil.copytree(GOLDEN / "llama_rope_llama3", broken)
        shard = sorted(broken.glob("model-*"))[1]
        shard.unlink()
        self.refuse(broken, shard.name)

    def refuse(self, folder, *parts, flags=()):
        self.assert_refused(self.dspeed(*self.train_arguments(
            "refused", "--model", folder, "--context", 24, "--steps", 2, *flags, model=[])), *parts)
        self.assertFalse((self.folder / "refused/model/config.json").exists())

    def test_refusals(self):
        self.refuse(self.folder / "nowhere", "nowhere")
        self.refuse(GOLDEN / "mixtral", "model_type", "mixtral", "llama")
        self.refuse(GOLDEN / "llama", "--layers is 5", "has 2", flags=["--layers", 5])
        self.refuse(GOLDEN / "llama", "--family is gpt2", "llama", flags=["--family", "gpt2"])
        self.assert_refused(self.dspeed(*self.train_arguments("x", "--family", "bert")), "bert",
                            "llama")
        self.assert_refused(self.dspeed(*self.train_arguments("x", "--model", GOLDEN / "llama",
                                                              "--context", 4096, model=[])),
                            "--context is 4096", "256")
        wrong = self.folder / "wrong"
        shutil.copytree(GOLDEN / "qwen2", wrong)
        told = json.loads((wrong / "config.json").read_text())
        told["num_key_value_heads"] = 3
        (wrong / "config.json").write_text(json.dumps(told))
        self.refuse(wrong, "num_attention_heads", "num_key_value_heads")
        told["num_key_value_heads"], told["intermediate_size"] = 2, 64
        (wrong / "config.json").write_text(json.dumps(told))
        self.refuse(wrong, "mlp.gate_proj.weight", "expected [64, ")


if __name__ == "__main__":
    unittest.main()
