#!/usr/bin/env python3
"""dspeed config: what a file comes to, and everything in it that is refused."""
import json
import os
import sys
import unittest

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

COMMON = """{
  // as the guides write it
  "train_batch_size": "auto",
  "train_micro_batch_size_per_gpu": 4,
  "bf16": {"enabled": true},
  "fp16": {"enabled": false, "loss_scale": 0},
  "zero_optimization": {
    "stage": 3,
    "allgather_bucket_size": 2e8,  # no effect
    "reduce_bucket_size": "auto",
    "contiguous_gradients": true,
  },
}
"""


class Config(e2e.DspeedTest):
    def config(self, text, *arguments):
        path = self.folder / "ds_config.json"
        path.write_text(text if isinstance(text, str) else json.dumps(text, indent=1))
        return self.dspeed("config", path, *arguments)

    def test_says_where_a_value_comes_from(self):
        done = self.config(COMMON, "--world", 2)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in done.stdout.splitlines()}
        self.assertEqual(rows["train_batch_size"], ["8", "derived (line 3)"])
        self.assertEqual(rows["train_micro_batch_size_per_gpu"], ["4", "line 4"])
        self.assertEqual(rows["zero_optimization.stage"], ["3", "line 8"])
        self.assertEqual(rows["zero_optimization.overlap_comm"], ["true", "derived"])
        self.assertEqual(rows["zero_optimization.reduce_bucket_size"],
                         ["500000000", "default (line 10)"])
        self.assertEqual(rows["gradient_clipping"], ["1.0", "default"])
        self.assertIn("line 9, no effect: ", rows["zero_optimization.allgather_bucket_size"][1])
        self.assertIn("fp16.enabled is off", rows["fp16.loss_scale"][1])

    def test_json(self):
        told = json.loads(self.config(COMMON, "--json").stdout)
        self.assertEqual(told["refused"], [])
        self.assertEqual(told["config"]["zero_optimization"]["stage"], 3)
        self.assertIn({"key": "bf16.enabled", "value": True, "from": "line 5"}, told["keys"])

    def test_state_on_the_cpu(self):
        """Where it is already: what DeepSpeed's users have in their files needs no change, a disk is refused."""
        offload = {"offload_optimizer": {"device": "cpu", "pin_memory": True, "ratio": 0.5},
                   "offload_param": {"device": "cpu", "buffer_count": 7}}
        done = self.config({"train_batch_size": 8, "zero_optimization": {"stage": 3, **offload}})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("zero_optimization.offload_param.device is \"cpu\"", done.stdout)
        offload["offload_param"] = {"device": "nvme", "nvme_path": "/tmp"}
        done = self.config({"train_batch_size": 8, "zero_optimization": {"stage": 3, **offload}})
        self.assertEqual(done.returncode, 1)
        for part in ("offload_param.device", "nvme", "state stays in memory"):
            self.assertIn(part, done.stdout)

    def test_a_batch_that_train_fills_in(self):
        batch = {"train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto",
                 "gradient_accumulation_steps": "auto"}
        done = self.config(batch, "--world", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = {row.split()[0]: row for row in done.stdout.splitlines()}
        self.assertIn("auto, which train fills in: here --batch N", rows["train_batch_size"])
        self.assertEqual(rows["train_batch_size"].split()[1], "16")
        told = json.loads(self.config(batch, "--world", 2, "--batch", 24, "--json").stdout)
        self.assertEqual(told["config"]["train_micro_batch_size_per_gpu"], 12)
        self.assertEqual(self.config({**batch, "train_micro_batch_size_per_gpu": 3}).returncode, 0)

    def test_what_train_would_not_take(self):
        batch = {"train_batch_size": "auto"}
        self.assert_refused(self.config(batch, "--batch", 99999999999), "--batch is 99999999999", 2**24)
        self.assert_refused(self.config(batch, "--batch", 0), "--batch is 0")
        self.assert_refused(self.config(batch, "--steps", 2**53 + 1), "--steps is", 2**53)

    def test_all_refusals(self):
        done = self.config({"train_batch_size": 3, "zero_optimization": {
            "stage": 3, "offload_optimizer": {"device": "nvme"}, "prefetch_bucket_sise": 1},
            "amp": {"enabled": True}, "stage": 1, "gradient_clipping": -1})
        self.assertEqual(done.returncode, 1)
        self.assert_refused(done, "ds_config.json", "5 things are refused")
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), 5, done.stdout)
        for number, part in ((6, "offload_optimizer.device"), (8, "did you mean prefetch_bucket_size"),
                             (11, "amp.enabled"), (13, "a key of zero_optimization"),
                             (14, "gradient_clipping is -1")):
            self.assertTrue(any(f"line {number}: " in line and part in line for line in lines),
                            (number, part, done.stdout))
        told = json.loads(self.config({"train_batch_size": 3}, "--world", 2, "--json").stdout)
        self.assertIsNone(told["config"])
        self.assertEqual([r["key"] for r in told["refused"]], ["train_batch_size"])
        self.assertEqual(told["refused"][0]["line"], 2)

    def test_train_agrees(self):
        """What config accepts, train accepts: the common case."""
        self.train("run", "--steps", 2, config=COMMON)

    def test_auto_of_a_schedule(self):
        """What only a run knows: as train fills it in."""
        text = {"optimizer": {"type": "Adam", "params": {"lr": "auto"}}, "scheduler": {
            "type": "WarmupDecayLR", "params": {"total_num_steps": "auto", "warmup_num_steps": "auto",
                                                "warmup_type": "linear", "warmup_max_lr": "auto"}}}
        for arguments, steps in (((), 500), (("--steps", 60), 60)):
            told = json.loads(self.config(text, "--json", *arguments).stdout)
            params = told["config"]["scheduler"]["params"]
            self.assertEqual((params["total_num_steps"], params["warmup_num_steps"]), (steps, steps // 10))
            self.assertIn(f"line 11: auto, which train fills in: here of {steps} steps",
                          [key["from"] for key in told["keys"]
                           if key["key"].endswith("total_num_steps")][0])
            self.assertIn("train takes --lr", [key["from"] for key in told["keys"]
                                               if key["key"] == "optimizer.params.lr"][0])
        rates = [row["lr"] for row in (self.train("run", "--steps", 20, config=text), self.log("run"))[1]]
        self.assertEqual(rates[:4], [0, 0, 0.0015, 0.003])  # as DeepSpeed warms up in 2 steps
        self.assertEqual(max(rates), 0.003)  # of the preset
        self.assert_refused(self.config(text, "--steps", 0), "--steps", 0)

    def test_bad_use(self):
        self.assert_refused(self.dspeed("config", self.folder / "none.json"), "none.json")
        self.assert_refused(self.dspeed("config"), "FILE")
        self.assert_refused(self.config("{}", "--world", 0), "--world", 0)
        self.assert_refused(self.config("{}", "--schema"), "--schema")
        self.assert_refused(self.config("{\n 1"), "line 2")
        self.assert_refused(self.config("[1]"), "array")

    def test_schema_agrees_with_the_reader(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("no jsonschema")
        schema = json.loads(self.dspeed("config", "--schema").stdout)
        jsonschema.Draft202012Validator.check_schema(schema)
        valid = jsonschema.Draft202012Validator(schema).is_valid
        defaults = json.loads(self.dspeed("config", "--defaults").stdout)
        self.assertEqual(self.config(defaults).returncode, 0)
        self.assertTrue(valid(defaults))
        for config in ({}, {"zero_optimization": True}, {"gradient_clipping": "auto"},
                       {"optimizer": {"type": "adamw", "params": {"lr": 1, "betas": [0, 0.5]}}},
                       {"scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": 4}}},
                       {"fp16": {"enabled": False, "loss_scale": 3}}, {"aio": {"block_size": 4}}):
            self.assertTrue(valid(config), config)
            self.assertEqual(self.config(config).returncode, 0, config)
        for config in ({"stage": 3}, {"amp": {"enabled": True}}, {"gradient_clipping": -1},
                       {"zero_optimization": {"stage": 4}}, {"train_batch_size": 1.5},
                       {"optimizer": {"type": "OneBitAdam"}}, {"prescale_gradients": True},
                       {"scheduler": {"type": "NoSuch"}}):
            self.assertFalse(valid(config), config)
            self.assertEqual(self.config(config).returncode, 1, config)

    def test_docs(self):
        done = self.dspeed("config", "--docs")
        page = os.environ["SOURCE_DIR"] + "/docs/CONFIG.md"
        with open(page, encoding="utf-8") as file:
            self.assertTrue(done.stdout == file.read(),
                            "docs/CONFIG.md: run dspeed config --docs > docs/CONFIG.md")


if __name__ == "__main__":
    unittest.main()
