#!/usr/bin/env python3
"""dspeed plan against what the run then takes: its own account, and the process as the system saw it."""
import json
import os
import pathlib
import re
import shutil
import struct
import sys

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

GOLDEN = pathlib.Path(os.environ.get("DS_GOLDEN_DIR") or
                      os.environ["SOURCE_DIR"] + "/tests/golden") / "hf"
STATE = ("weights", "gradients", "master", "moments")
SIZES = ["--layers", 6, "--heads", 6, "--width", 384, "--context", 128, "--batch", 8]

# (ranks, flags, config)
CONFIGS = [
    (1, [], {}),
    (1, ["--dtype", "bf16"], {}),
    (1, ["--threads", 24], {}),
    (2, [], {"zero_optimization": {"stage": 0}}),
    (2, ["--recompute"], {"zero_optimization": {"stage": 1}}),
    (2, ["--dtype", "bf16"], {"zero_optimization": {"stage": 2}}),
    (4, ["--dtype", "bf16", "--recompute"], {"zero_optimization": {"stage": 3}}),
    (4, [], {"zero_optimization": {"stage": 3, "stage3_max_live_parameters": 4000000}}),
    (2, ["--dtype", "fp16"], {"gradient_accumulation_steps": 2, "zero_optimization": {"stage": 3}}),
]


class Plan(e2e.DspeedTest):
    def forecast(self, *arguments):
        done = self.dspeed("plan", "--json", "--data", self.data, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def compare(self, name, *flags, config, over=0.05):
        path = self.folder / "ds_config.json"
        path.write_text(json.dumps(config))
        flags = [*flags, "--config", path]
        plan = self.forecast(*flags)
        done = self.dspeed("train", "--data", self.data, *flags, "--steps", 2, "--eval-every", 2, "--log",
                           self.folder / "log", "--overwrite")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = (self.folder / "log/log.jsonl").read_text().splitlines()
        held = {}
        for line in lines:
            held = json.loads(line).get("memory", held)
        planned = plan["rank_bytes"]
        for kind in (*STATE, "windows"):
            self.assertLessEqual(abs(planned[kind] - held[kind]), 0.01 * held[kind], (name, kind))
        scratch = planned["activations"] + planned["scratch"]
        self.assertLessEqual(abs(scratch - held["scratch"]), 0.01 * held["scratch"], name)
        peak = float(re.search(r"process peak +([\d.]+) MiB", done.stdout)[1]) * 2**20
        error = plan["peak_bytes"] / peak - 1
        if os.environ.get("VERBOSE"):
            print(f"{name}: {flags} {config}: plan {plan['peak_bytes'] / 2**20:.1f} MiB, run {peak / 2**20:.1f} MiB, "
                  f"{100 * error:+.2f} %; state {sum(planned[k] for k in STATE)}, held {sum(held[k] for k in STATE)}")
        self.assertGreater(error, -0.05, (name, plan["peak_bytes"], peak))
        self.assertLess(error, over, (name, plan["peak_bytes"], peak))

    def test_against_runs(self):
        for number, (ranks, flags, config) in enumerate(CONFIGS):
            self.compare(number, *SIZES, "--ranks", ranks, *flags, config=config)

    def test_of_a_model_that_is_gone_on_from(self):
        """Whose file is in memory while it is read: that can be more than what the training needs."""
        self.train("base", *SIZES, "--vocab", 8000, "--tokenizer", "bytes", "--steps", 1, model=[])
        base = ["--model", self.folder / "base/model", "--tokenizer", "bytes", "--context", 64, "--batch", 4]
        lora = ["--lora-rank", 8, "--lora-targets", "all-linear"]
        for name, flags, stage in (("whole", ["--ranks", 2], 0),
                                   ("adapters", [*lora, "--ranks", 2, "--dtype", "bf16", "--recompute"], 2),
                                   ("tables", [*lora, "--ranks", 2, "--lora-embeddings", "--dtype", "bf16"], 1),
                                   ("fp32", [*lora, "--ranks", 2, "--lora-embeddings", "--lora-dropout", 0.1], 3)):
            # Of a file that ranks map each, not all pages need to be there at one time.
            self.compare(name, *base, *flags, config={"zero_optimization": {"stage": stage}}, over=0.1)

    def test_counts_what_a_text_takes(self):
        """Of a file that is mapped its bytes, of one that is encoded its ids, and what encoding takes."""
        text = e2e.text(200_000) * 60
        (self.folder / "long.txt").write_text(text)
        parts = self.folder / "parts"
        parts.mkdir()
        for i in range(12):
            (parts / f"{i}.txt").write_text(text[i * 10**6:(i + 1) * 10**6])
        lines = [text[i:i + 1000] for i in range(0, len(text), 1000)]
        (self.folder / "lines.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
        (self.folder / "chat.jsonl").write_text("".join(json.dumps({"messages": [
            {"role": "user", "content": "say"}, {"role": "assistant", "content": line}]}) + "\n" for line in lines))
        self.ok("tokenizer", "train", "--data", self.data, "--vocab", 400, "--out", self.folder / "bpe",
                "--special", "<|im_start|>", "--special", "<|im_end|>")
        count = 6_000_000  # ids of Megatron, of which the name of both files is given
        (self.folder / "ids.bin").write_bytes(b"\1\0" * count)
        (self.folder / "ids.idx").write_bytes(b"MMIDIDX\0\0" +
                                              struct.pack("<QBQQiqqq", 1, 8, 1, 2, count, 0, 0, 1))
        bpe = ["--tokenizer", self.folder / "bpe"]
        for flags in (["--data", "long.txt"], ["--data", "long.txt", *bpe], ["--data", "parts"],
                      ["--data", "lines.jsonl"], ["--data", "chat.jsonl", "--format", "chat", *bpe],
                      ["--data", "ids", "--format", "tokens", "--vocab", 256],
                      ["--data", "long.txt", "--data", "lines.jsonl"]):
            flags = [*flags, "--preset", "tiny", "--batch", 4, "--context", 64]
            planned = json.loads(self.ok("plan", "--json", *flags))["peak_bytes"]
            done = self.ok("train", *flags, "--steps", 1)
            peak = float(re.search(r"process peak +([\d.]+) MiB", done)[1]) * 2**20
            self.assertGreater(planned / peak, 0.95, (flags, planned, peak))
            self.assertLess(planned / peak, 1.2, (flags, planned, peak))

    def test_says_what_does_not_fit(self):
        """A model that no machine of ours holds, planned in a moment."""
        told = self.forecast("--layers", 48, "--width", 16384, "--heads", 64)
        self.assertGreater(told["peak_bytes"], 2e12)
        done = self.dspeed("plan", "--data", self.data, "--layers", 48, "--width", 16384, "--heads", 64,
                           "--ranks", 8)
        self.assertEqual(done.returncode, 0, done.stderr)
        for part in ("does not fit", "gradients", "activations", "8 ranks", "the process", "peak"):
            self.assertIn(part, done.stdout)
        rows = re.findall(r"(?m)^ +([\d.]+) +[\d.]+  (\S.*)$", done.stdout.split("with, alone")[1])
        saved = {how: peak for peak, how in rows}
        stage = "config zero_optimization.stage: 3"
        for way in ("--recompute", "--dtype bf16", stage, "--context 64"):
            self.assertIn(way, saved)
        self.assertRegex(done.stdout, r"All of them together still need \d+\.\d MiB: a smaller model")
        # What it says of a way is what a plan with it says, but for the text.
        told = self.forecast("--layers", 48, "--width", 16384, "--heads", 64, "--ranks", 8, "--recompute")
        self.assertAlmostEqual(told["peak_bytes"] / 2**20 / float(saved["--recompute"]), 1, 4)

        refused = self.dspeed("train", "--data", self.data, "--layers", 48, "--width", 16384, "--heads", 64,
                              "--ranks", 8)
        self.assert_refused(refused, "MiB of memory, this machine has", "dspeed plan")

    def test_says_that_the_text_does_not_fit(self):
        """Then no smaller model helps."""
        with open(self.folder / "sparse.txt", "wb") as file:
            file.truncate(2**42)
        told = self.ok("plan", "--preset", "tiny", "--data", "sparse.txt")
        self.assertIn("does not fit", told)
        self.assertRegex(told, r"The text alone is too large: with the program it takes 41943\d\d\.\d MiB")
        self.assertNotIn("smaller model", told)

    def test_is_of_one_process(self):
        """What each process of a job holds is not counted as if it were there once."""
        self.assertNotIn("--mpi", self.ok("plan", "--help"))
        self.assert_refused(self.dspeed("plan", "--preset", "tiny", "--ranks", 2, "--mpi"), "--mpi", "--ranks N")
        job = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
        self.assert_refused(self.dspeed("plan", "--preset", "tiny", env=job), "OMPI_COMM_WORLD_SIZE", "--ranks N")
        other = self.dspeed("plan", "--preset", "tiny", env={**job, "OMPI_COMM_WORLD_RANK": "1"})
        self.assertEqual((other.returncode, other.stdout, other.stderr), (1, "", ""))

    def test_counts_no_further_than_it_can(self):
        """Bytes that no 64-bit number holds are not said to fit."""
        done = self.dspeed("plan", "--batch", 2**24, "--ranks", 1024, "--layers", 4096, "--width", 65536,
                           "--heads", 64, "--context", 2**20)
        self.assert_refused(done, "bytes", "count")

    def test_says_how_it_fits(self):
        """The least of what leaves the numbers of a run as they are; a plan with it fits."""
        flags = ["--data", self.data, "--layers", 8, "--heads", 8, "--width", 256, "--context", 1024]
        done = self.dspeed("plan", *flags, "--batch", 2**20)
        self.assertIn("does not fit", done.stdout)
        found = re.search(r"It fits, with a peak of ([\d.]+) MiB, by config train_micro_batch_size_per_gpu: 1, "
                          r"gradient_accumulation_steps: 1048576\.\n$", done.stdout)
        self.assertTrue(found, done.stdout)
        config = self.folder / "fits.json"
        config.write_text('{"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1048576}')
        done = self.dspeed("plan", *flags, "--config", config)
        self.assertNotIn("does not fit", done.stdout)
        peak = float(re.search(r"(?m)^peak +([\d.]+)$", done.stdout)[1])
        self.assertAlmostEqual(peak / float(found[1]), 1, 2)

    def test_without_a_text(self):
        """The sizes are enough, of a fresh model and of one in a folder."""
        done = self.dspeed("plan", "--preset", "gpt2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("a vocabulary of 256", done.stdout)
        folder = self.folder / "long"
        shutil.copytree(GOLDEN / "llama", folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
        done = self.dspeed("plan", "--model", folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1024 of 4096: --context N takes more", done.stdout)
        self.assert_refused(self.dspeed("plan", "--preset", "nanogpt-char-cpu"), "--data", "--vocab")
        self.assert_refused(self.dspeed("plan", "--preset", "small", "--ranks", 3),
                            "preset small", 16, "3 ranks", "--batch 15", "--batch 18")

    def test_refusals(self):
        self.assert_refused(self.dspeed("plan", "--list-presets", "--json"), "--list-presets", "--json")
        self.assert_refused(self.dspeed("plan", "--data", self.data, "--ranks", 3, "--batch", 4), 3, 4)
        self.assert_refused(self.dspeed("plan", "--data", self.data, "--width", 7, "--heads", 2), 7, 2)


if __name__ == "__main__":
    e2e.unittest.main()
