#!/usr/bin/env python3
"""Models of every family: fresh ones, and folders that are gone on from."""
import fcntl
import json
import os
import pathlib
import shutil
import struct
import sys
import unittest

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
GOLDEN = pathlib.Path(os.environ.get("DS_GOLDEN_DIR") or
                      os.environ["SOURCE_DIR"] + "/tests/golden") / "hf"


def config(stage):
    return {"train_batch_size": 8, "gradient_clipping": 0.5, "zero_optimization": {"stage": stage}}


# The golden folders hold no tokenizer, and have more ids than there are bytes.
BYTES = ["--tokenizer", "bytes"]


class Families(e2e.DspeedTest):
    def test_every_way_gives_the_same_bits(self):
        for family in FAMILIES:
            for world in (1, 2):
                first = None
                for stage, flags, threads in ((0, [], 1), (3, ["--recompute"], 2), (2, [], 2)):
                    name = f"{family}-{world}-{stage}"
                    self.train(name, "--family", family, "--ranks", world, "--steps", 3, "--seed",
                               7, "--threads", threads, "--dropout", 0.1, *flags,
                               config=config(stage))
                    got = (self.curve(name), self.weights(name))
                    first = first or got
                    self.assertEqual(got[0], first[0], name)
                    self.assertEqual(got[1], first[1], f"{name}: model.safetensors differs")
                told = json.loads((self.folder / name / "model/config.json").read_text())
                self.assertEqual(told["model_type"], family)
                self.assertEqual([told[k] for k in told if "drop" in k],
                                 [0.1] * (3 if family == "gpt2" else 1))

    def test_dropout(self):
        runs = {}
        for name, dropout in (("none", 0), ("some", 0.2), ("again", 0.2), ("more", 0.5)):
            self.train(name, "--steps", 30, "--lr", 0.01, "--dropout", dropout)
            runs[name] = [row["loss"] for row in self.log(name)]
        self.assertEqual(runs["some"], runs["again"])
        self.assertNotEqual(runs["some"][0], runs["none"][0])
        self.assertLess(runs["none"][-1], runs["more"][-1])
        self.assertIn("attention 0.2, embeddings 0.2, residuals 0.2",
                      self.train("off", "--model", self.folder / "some/model", "--steps", 1,
                                 model=[]).stdout)
        self.assertNotIn("residuals", self.train("off", "--model", self.folder / "some/model",
                                                 "--dropout", 0, "--steps", 1, model=[]).stdout)
        self.assert_refused(self.dspeed(*self.train_arguments("x", "--dropout", 1)), "dropout", "1")

    def test_learning_rate(self):
        """A model that exists has a default of its own; who names a preset has that one's."""
        ask = ["--model", GOLDEN / "llama", *BYTES, "--context", 24, "--steps", 1]
        for flags, told in (([], "lr 2e-05 (the default of --model)"),
                            (["--lora-rank", 2], "lr 0.0002 (the default of adapters)"),
                            (["--preset", "tiny"], "lr 0.003 (preset tiny)"),
                            (["--lr", 0.5], "lr 0.5 (--lr)")):
            done = self.train("rate-" + str(len(told)), *ask, *flags, model=[])
            self.assertIn(f"rate      {told}", done.stdout)

    def test_warm_up(self):
        """Half of a short run for a fresh model, a tenth for one that exists; DeepSpeed's rate is that
        of the step before."""
        self.train("fresh", "--steps", 20)
        rates = [row["lr"] for row in self.log("fresh")]
        self.assertEqual(rates.index(max(rates)), 10 + 1)
        self.train("tuned", "--steps", 20, "--model", self.folder / "fresh/model", model=[])
        rates = [row["lr"] for row in self.log("tuned")]
        self.assertEqual(rates.index(max(rates)), 2 + 1)

    def test_a_folder_is_gone_on_from(self):
        for family in FAMILIES:
            folder = GOLDEN / family
            self.train(family, "--model", folder, *BYTES, "--context", 24, "--steps", 12, "--lr", 0.003,
                       "--ranks", 2, config=config(3), model=[])
            log = self.log(family)
            self.assertLess(log[-1]["loss"], log[0]["loss"] - 0.2, family)
            # What was written is such a folder again.
            again = self.train(family + "-again", "--model", self.folder / family / "model", *BYTES,
                               "--context", 24, "--steps", 2, "--lr", 0.003, model=[])
            self.assertLess(self.log(family + "-again")[0]["loss"], log[0]["loss"] - 0.2)
            self.assertIn(family, again.stdout)

    def test_a_model_is_saved_over_itself(self):
        folder = self.folder / "run/model"
        shutil.copytree(GOLDEN / "llama", folder)
        told = {"eos_token_id": 2, "temperature": 0.6}
        (folder / "generation_config.json").write_text(json.dumps(told))
        self.train("run", "--model", folder, *BYTES, "--context", 24, "--steps", 1, model=[])
        self.assertEqual(json.loads((folder / "generation_config.json").read_text()), told)

    def test_adapters(self):
        for family in FAMILIES:
            folder = GOLDEN / family
            first = None
            for stage, flags, ranks in ((0, [], 2), (3, ["--recompute"], 2), (1, [], 1)):
                name = f"{family}-{stage}"
                self.train(name, "--model", folder, *BYTES, "--context", 24, "--steps", 8, "--lr", 0.02,
                           "--lora-rank", 4, "--ranks", ranks, *flags, config=config(stage),
                           model=[])
                if ranks == 2:
                    got = (self.curve(name), self.adapters(name))
                    first = first or got
                    self.assertEqual(got, first, name)
            out = self.folder / f"{family}-0/model"
            self.assertFalse((out / "model.safetensors").exists())
            told = json.loads((out / "adapter_config.json").read_text())
            self.assertEqual((told["r"], told["lora_alpha"], told["fan_in_fan_out"]),
                             (4, 8, family == "gpt2"))
            log = self.log(f"{family}-0")
            self.assertLess(log[-1]["loss"], log[0]["loss"] - 0.1, family)
            merged = self.folder / f"{family}-merged"
            done = self.dspeed("merge", "--model", out, "--out", merged)
            self.assertEqual(done.returncode, 0, done.stderr)
            losses = [json.loads(self.dspeed("eval", "--model", each, "--data", self.data,
                                             "--tokenizer", "bytes", "--json").stdout)["loss"]
                      for each in (out, merged, folder)]
            self.assertAlmostEqual(losses[0], losses[1], 4)
            self.assertLess(losses[0], losses[2] - 0.1)

    def test_tables_beside_adapters(self):
        """The embedding and the head trained whole beside them, tied and not: equal bits for every stage, merged,
        gone on from and resumed; and a head that is no longer the embedding."""
        for family in ("gpt2", "llama"):
            base, name = GOLDEN / family, f"{family}-tables"
            lora = ["--model", base, *BYTES, "--context", 24, "--lr", 0.02, "--lora-rank", 2, "--lora-embeddings",
                    "--ranks", 2]
            schedule = {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2}}}
            self.train(name, *lora, "--steps", 4, config={**config(0), **schedule}, model=[])
            self.train("other", *lora, "--steps", 2, config={**config(3), **schedule}, model=[])
            self.train("other", *lora, "--steps", 4, "--resume", config={**config(1), **schedule}, model=[])
            self.assertEqual(self.adapters("other"), self.adapters(name))
            out, merged = self.folder / name / "model", self.folder / f"{family}-tables-merged"
            self.assertEqual(json.loads((out / "adapter_config.json").read_text())["modules_to_save"],
                             ["wte" if family == "gpt2" else "embed_tokens", "lm_head"])
            self.ok("merge", "--model", out, "--out", merged)
            loss = {}
            for folder in (out, merged, base):
                loss[folder] = json.loads(self.ok("eval", "--model", folder, "--data", self.data, "--tokenizer",
                                                  "bytes", "--json"))["loss"]
            self.assertAlmostEqual(loss[out], loss[merged], 4)
            self.assertLess(loss[out], loss[base] - 0.1)
            tied = family == "gpt2"
            self.assertEqual(json.loads((merged / "config.json").read_text())["tie_word_embeddings"], tied)
            weights = out / "adapter_model.safetensors"
            blob = bytearray(weights.read_bytes())
            size = struct.unpack("<Q", blob[:8])[0]
            header = json.loads(blob[8:8 + size])
            begin = 8 + size + header["base_model.model.lm_head.weight"]["data_offsets"][0]
            blob[begin:begin + 4] = struct.pack("<f", 1.5)
            weights.write_bytes(blob)
            self.ok("merge", "--model", out, "--out", merged, "--overwrite")
            self.assertFalse(json.loads((merged / "config.json").read_text())["tie_word_embeddings"])
            again = [json.loads(self.ok("eval", "--model", folder, "--data", self.data, "--tokenizer", "bytes",
                                        "--json"))["loss"] for folder in (out, merged)]
            self.assertAlmostEqual(again[0], again[1], 4)
            self.assertNotEqual(again[0], loss[out])
            self.train("on", "--model", out, *BYTES, "--context", 24, "--steps", 1, "--lr", 0, model=[])
            self.assertEqual(self.adapters("on"), bytes(blob))
        self.train("plain", "--model", GOLDEN / "llama", *BYTES, "--lora-rank", 2, "--context", 24, "--steps", 1,
                   model=[])
        # A base that is tied, and whose file says otherwise, is refused with adapters as without.
        tied = self.folder / "tied"
        shutil.copytree(GOLDEN / "llama", tied)
        told = json.loads((tied / "config.json").read_text())
        (tied / "config.json").write_text(json.dumps({**told, "tie_word_embeddings": True}))
        refused = self.dspeed("eval", "--model", self.folder / "llama-tables/model", "--base", tied, "--data",
                              self.data, "--tokenizer", "bytes")
        self.assert_refused(refused, tied, "lm_head.weight", "tie_word_embeddings")
        for flag in ("--lora-embeddings", "--lora-rslora"):
            refused = self.dspeed(*self.train_arguments("x", "--model", self.folder / "plain/model", *BYTES, flag,
                                                        model=[]))
            self.assert_refused(refused, flag, self.folder / "plain/model")
            self.assert_refused(self.dspeed(*self.train_arguments("x", flag)), flag, "--lora-rank")
        broken = self.folder / "plain/model"
        told = json.loads((broken / "adapter_config.json").read_text())
        (broken / "adapter_config.json").write_text(json.dumps({**told, "modules_to_save": ["lm_head"]}))
        self.refuse(broken, "modules_to_save", "lm_head", "has none")
        (broken / "adapter_config.json").write_text(json.dumps({**told, "lora_dropout": 0.05}))
        done = self.train("on", "--model", broken, *BYTES, "--context", 24, "--steps", 1, model=[])
        self.assertIn("dropout 0.05, beside", done.stdout)
        self.assertEqual(json.loads((self.folder / "on/model/adapter_config.json").read_text())["lora_dropout"], 0.05)
        got = []
        for name, rest in (("a", ["--ranks", 2]), ("b", ["--ranks", 2, "--recompute", "--threads", 1]),
                           ("c", ["--ranks", 2, "--lora-dropout", 0])):
            self.train(name, "--model", broken, *BYTES, "--context", 24, "--steps", 4, "--lr", 0.01, *rest,
                       config=config(3 if name == "b" else 0), model=[])
            got.append((self.curve(name), self.adapters(name)))
        self.assertEqual(got[0], got[1])
        self.assertNotEqual(got[0], got[2])
        refused = self.dspeed(*self.train_arguments("a", "--model", broken, *BYTES, "--context", 24, "--steps", 9,
                                                    "--resume", "--lora-dropout", 0.2, model=[]))
        self.assert_refused(refused, "cannot resume", "adapters", 0.05, 0.2)
        self.refuse(broken, "lora_dropout is 1", flags=["--lora-dropout", 1])
        (broken / "adapter_model.safetensors").rename(broken / "adapter_model.bin")
        self.refuse(broken, "adapter_model.bin", "pickle", "safetensors")

    def test_merge_replaces_nothing_unasked(self):
        lora = ["--context", 24, "--steps", 2]
        self.train("a", "--model", GOLDEN / "llama", *BYTES, "--lora-rank", 2, *lora, model=[])
        self.train("run", *lora)
        adapters, out = self.folder / "a/model", self.folder / "merged"
        merge = ["merge", "--model", adapters, "--out"]
        for folder, what in ((self.folder / "run/model", "a run"), (GOLDEN / "lora", "adapters")):
            self.assert_refused(self.dspeed(*merge, folder, "--overwrite"), "--out", folder, what)
        shutil.copytree(GOLDEN / "gpt2", out)
        (out / "generation_config.json").write_text('{"eos_token_id": 3}')
        (out / "characters.json").write_text('{"characters": ["a"]}')
        self.assert_refused(self.dspeed(*merge, out), "--out", out, "config.json", "--overwrite")
        held = os.open(out, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)  # as another merge does
        self.assert_refused(self.dspeed(*merge, out, "--overwrite"), "--out", out, "another process")
        os.close(held)
        done = self.dspeed(*merge, out, "--overwrite")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads((out / "config.json").read_text())["model_type"], "llama")
        self.assertFalse((out / "characters.json").exists())
        fresh = self.folder / "fresh"
        self.assertEqual(self.dspeed(*merge, fresh).returncode, 0)
        self.assertEqual((out / "generation_config.json").exists(),
                         (fresh / "generation_config.json").exists())
        for path in fresh.iterdir():
            self.assertEqual((out / path.name).read_bytes(), path.read_bytes(), path.name)

    def adapters(self, name):
        return (self.folder / name / "model/adapter_model.safetensors").read_bytes()

    def test_adapters_are_gone_on_from_and_resumed(self):
        lora = ["--context", 24, "--lr", 0.02, "--save-every", 4, *BYTES]
        fresh = ["--model", GOLDEN / "llama", "--lora-rank", 2, "--lora-targets", "all-linear"]
        self.train("whole", *lora, *fresh, "--steps", 8, "--config", self.schedule(), model=[])
        self.train("half", *lora, *fresh, "--steps", 4, "--config", self.schedule(), model=[])
        self.train("half", *lora, *fresh, "--steps", 8, "--resume", "--ranks", 2, "--config",
                   self.schedule(), model=[])
        self.assertEqual(self.log("half")[-1]["step"], 8)
        # What is kept to go on is of the adapters alone; the weights below them are where they were.
        for file in (self.folder / "half/model/resume").glob("*.safetensors"):
            data = file.read_bytes()
            names = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
            names.pop("__metadata__")
            self.assertEqual({name.split("/")[1] for name in names}, {"master", "exp_avg", "exp_avg_sq"})
        self.assertAlmostEqual(self.log("half")[-1]["loss"], self.log("whole")[-1]["loss"], 5)
        again = self.train("again", "--model", self.folder / "whole/model", *lora, "--steps", 2,
                           model=[])
        self.assertIn("rank 2", again.stdout)
        self.assertLess(self.log("again")[0]["loss"], self.log("whole")[0]["loss"] - 0.1)
        told = json.loads((self.folder / "again/model/adapter_config.json").read_text())
        self.assertEqual(sorted(told["target_modules"]), sorted(
            "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()))
        done = self.dspeed(*self.train_arguments("half", *lora, "--model", GOLDEN / "llama",
                                                 "--steps", 9, "--resume", "--config",
                                                 self.schedule(), model=[]))
        self.assert_refused(done, "adapter_config.json", "another folder")

    def test_the_base_of_a_resume(self):
        """Another one of the same shapes is another run; the same one may have moved."""
        base, moved = self.folder / "base", self.folder / "moved"
        lora = ["--lora-rank", 2, "--context", 20, "--model"]
        self.train("base", "--steps", 1)
        self.train("other", "--steps", 1, "--seed", 3)
        self.train("run", *lora, self.folder / "base/model", "--steps", 2, model=[])
        base.rename(moved)
        ask = ["--steps", 3, "--resume", *lora]
        self.assert_refused(self.dspeed(*self.train_arguments(
            "run", *ask, self.folder / "other/model", model=[])),
            base / "model", self.folder / "other/model", "checksum")
        self.train("run", *ask, moved / "model", model=[])
        weights = self.folder / "run/model/adapter_model.safetensors"
        blob = bytearray(weights.read_bytes())
        blob[-4:] = struct.pack("<f", float("nan"))
        weights.write_bytes(blob)
        path = self.folder / "run/model"
        for command in (["merge", "--model", path, "--out", self.folder / "merged"],
                        ["train", "--model", path, "--data", self.data, "--steps", 1]):
            self.assert_refused(self.dspeed(*command), weights, "lora_", "nan")
        self.train("run", *lora, moved / "model", "--steps", 1, "--overwrite", model=[])
        base_weights = moved / "model/model.safetensors"
        blob = bytearray(base_weights.read_bytes())
        blob[-4:] = struct.pack("<f", float("inf"))
        base_weights.write_bytes(blob)
        self.assert_refused(self.dspeed("merge", "--model", path, "--out", self.folder / "merged"),
                            self.folder / "merged", "not finite")
        self.assertFalse((self.folder / "merged").exists())

    def test_adapters_of_a_base_that_is_elsewhere(self):
        """Adapters from a hub name their base by its name there; --base says where it lies."""
        adapters, base = self.folder / "adapters", GOLDEN / "llama"
        shutil.copytree(GOLDEN / "lora", adapters)
        told = json.loads((adapters / "adapter_config.json").read_text())
        told["base_model_name_or_path"] = "meta-llama/Llama-2-7b"
        (adapters / "adapter_config.json").write_text(json.dumps(told))
        for place in (base, os.path.relpath(base, self.folder)):
            at = ["--model", adapters, "--base", place]
            answers = []
            for command in (["generate", *BYTES, "--prompt", "a b", "--tokens", 8],
                            ["eval", *BYTES, "--json", "--data", self.data]):
                for where in (at, ["--model", GOLDEN / "lora", "--base", base]):
                    done = self.dspeed(*command, *where)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    answer = done.stdout
                    if "eval" in command:
                        answer = json.loads(answer)["loss"]
                    answers.append(answer)
            self.assertEqual(answers[::2], answers[1::2])
            out = self.folder / "merged"
            done = self.dspeed("merge", *at, "--out", out, "--overwrite")
            self.assertEqual(done.returncode, 0, done.stderr)
            done = self.dspeed("eval", *BYTES, "--json", "--data", self.data, "--model", out)
            self.assertAlmostEqual(json.loads(done.stdout)["loss"], answers[2], 5)
            self.train("on", *at, *BYTES, "--context", 24, "--steps", 2, "--overwrite", model=[])
            told = json.loads((self.folder / "on/model/adapter_config.json").read_text())
            self.assertEqual(told["base_model_name_or_path"], str(base))
        # A link before ".." leads where it leads.
        (self.folder / "far/sub").mkdir(parents=True)
        (self.folder / "link").symlink_to(self.folder / "far/sub")
        shutil.copytree(base, self.folder / "far/base")
        done = self.dspeed("eval", *BYTES, "--json", "--data", self.data, "--model", adapters, "--base",
                           "link/../base")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["loss"], answers[2])
        eval_of = ["eval", *BYTES, "--data", self.data, "--model"]
        self.assert_refused(self.dspeed(*eval_of, base, "--base", base), base,
                            "no adapter_config.json", "base")
        nowhere = self.folder / "nowhere"
        self.assert_refused(self.dspeed(*eval_of, adapters, "--base", nowhere),
                            nowhere, "no such folder")
        self.assert_refused(self.dspeed("train", "--data", self.data, "--base", base), "--base",
                            "--model")
        self.assert_refused(self.dspeed(*eval_of, nowhere, "--base", base), nowhere, "no such folder")

    def schedule(self):
        path = self.folder / "schedule.json"
        path.write_text(json.dumps({"train_batch_size": 8, "scheduler": {
            "type": "WarmupLR", "params": {"warmup_num_steps": 2}}}))
        return path

    def test_adapter_refusals(self):
        llama = GOLDEN / "llama"
        self.refuse(llama, "--lora-alpha", "--lora-rank", flags=["--lora-alpha", 3])
        self.refuse(llama, "rank", "0", flags=["--lora-rank", 0])
        self.refuse(llama, "c_attn", "gate_proj", flags=["--lora-rank", 2, "--lora-targets",
                                                         "c_attn"])
        self.assert_refused(self.dspeed(*self.train_arguments("x", "--lora-rank", 2)),
                            "--lora-rank 2", "--model")
        base = self.folder / "base"
        shutil.copytree(llama, base)
        lora = ["--model", base, *BYTES, "--lora-rank", 2, "--context", 24, "--steps", 2]
        done = self.dspeed("train", "--data", self.data, "--steps", 1, "--model", base)
        self.assert_refused(done, base, "holds no tokenizer.json", "--tokenizer")
        self.train("a", *lora, model=[])
        self.assert_refused(self.dspeed("merge", "--model", self.folder / "a/model", "--out", base),
                            "--out", base)
        self.assert_refused(self.dspeed("train", "--data", self.data, *lora, "--save", base),
                            "config.json", "adapters")
        self.assert_refused(self.dspeed(*self.train_arguments("a")), "adapter_config.json")
        self.train("d", "--dropout", 0.1, "--steps", 2)
        self.assert_refused(self.dspeed(*self.train_arguments("d", "--steps", 3, "--resume")),
                            "dropout", "0.1")
        self.assert_refused(self.dspeed(*self.train_arguments("n", "--lr", 1e30, "--steps", 9)),
                            "loss is", "step")
        self.assert_refused(self.dspeed(*self.train_arguments("n", "--batch", 2**62)), "--batch")
        self.assert_refused(self.dspeed("merge", "--model", llama, "--out", self.folder / "x"),
                            "adapter_config.json")
        broken = self.folder / "adapters"
        shutil.copytree(GOLDEN / "lora", broken)
        told = json.loads((broken / "adapter_config.json").read_text())
        told["base_model_name_or_path"] = "meta-llama/Llama-2-7b"
        (broken / "adapter_config.json").write_text(json.dumps(told))
        self.refuse(broken, "base_model_name_or_path", "meta-llama/Llama-2-7b", "--base")
        told.update(base_model_name_or_path=str(GOLDEN / "llama"), r=3)
        (broken / "adapter_config.json").write_text(json.dumps(told))
        self.refuse(broken, "lora_A", "[4, 32]", "[3, 32]")

    def test_a_failed_save_leaves_what_it_was_to_replace(self):
        for train in (["train", "--data", self.data, "--steps", 1], []):
            there = self.folder / "there"
            shutil.rmtree(there, ignore_errors=True)
            shutil.copytree(GOLDEN / "llama_rope_llama3", there)
            (there / "generation_config.json").write_text('{"eos_token_id": 3}')
            before = {path.name: path.read_bytes() for path in there.iterdir()}
            self.train("a", "--model", GOLDEN / "llama", *BYTES, "--lora-rank", 2, "--context", 24, "--steps", 1,
                       model=[])
            write = ([*train, *e2e.MODEL, "--save", there] if train else
                     ["merge", "--model", self.folder / "a/model", "--out", there])
            self.assert_refused(self.dspeed(*write, "--overwrite", most_bytes=4096), there)
            after = {path.name: path.read_bytes() for path in there.iterdir() if path.is_file()}
            self.assertEqual(after, before)
            self.assert_refused(self.dspeed(*write), there, "--overwrite to replace it")
            self.ok(*write, "--overwrite")
            self.assertFalse(list(there.glob("model-*")))

    def test_shards(self):
        self.train("run", "--model", GOLDEN / "llama_rope_llama3", *BYTES, "--context", 24, "--steps", 2,
                   model=[])
        broken = self.folder / "broken"
        shutil.copytree(GOLDEN / "llama_rope_llama3", broken)
        shard = sorted(broken.glob("model-*"))[1]
        shard.unlink()
        self.refuse(broken, shard.name)

    def refuse(self, folder, *parts, flags=()):
        self.assert_refused(self.dspeed(*self.train_arguments(
            "refused", "--model", folder, *BYTES, "--context", 24, "--steps", 2, *flags, model=[])), *parts)
        self.assertFalse((self.folder / "refused/model/config.json").exists())

    def test_refusals(self):
        self.refuse(self.folder / "nowhere", "nowhere")
        self.refuse(GOLDEN / "mixtral", "model_type", "mixtral", "llama")
        stretched = self.folder / "stretched"
        shutil.copytree(GOLDEN / "llama", stretched)
        config = json.loads((stretched / "config.json").read_text())
        (stretched / "config.json").write_text(json.dumps({**config, "rope_scaling": {"type": "linear", "facter": 4}}))
        self.refuse(stretched, "config.json", "linear", "factor")
        self.refuse(GOLDEN / "llama", "--layers is 5", "has 2", flags=["--layers", 5])
        self.refuse(GOLDEN / "llama", "--family is gpt2", "llama", flags=["--family", "gpt2"])
        self.assert_refused(self.dspeed(*self.train_arguments("x", "--family", "bert")), "bert",
                            "llama")
        self.assert_refused(self.dspeed(*self.train_arguments("x", "--model", GOLDEN / "llama", *BYTES,
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
