#!/usr/bin/env python3
"""What goes wrong around the program: signals, closed outputs, files that shrink or belong to others,
words that are mistyped. One clear line, and nothing of the user's lost."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

LONG = ["--steps", 1000000, "--save-every", 1000000]


class Process(e2e.DspeedTest):
    def begin(self, *arguments, **more):
        """The running process, once it has printed something; it is ended with the test."""
        process = subprocess.Popen([e2e.DSPEED, *map(str, arguments)], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, cwd=self.folder, **more)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.assertTrue(process.stdout.read(1), "ended before it began")
        return process

    def end(self, process):
        out, err = process.communicate(timeout=60)
        return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")

    def test_interrupts(self):
        """It ends soon, says so by its status, and leaves no part of a file."""
        self.train("run", "--steps", 1)
        model = self.folder / "run/model"
        big = self.folder / "big.txt"
        big.write_text(e2e.text() * 4000)
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.begin("generate", "--model", model, "--prompt", "a", "--tokens", 10**7)
            process.send_signal(number)
            self.assertEqual(self.end(process)[0], 128 + number)
        words = ["eval", "--model", model, "--data", big, "--per-token", "each.npy"]
        process = subprocess.Popen([e2e.DSPEED, *map(str, words)], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, cwd=self.folder)
        while process.poll() is None and not any(self.folder.glob("each.npy*")):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        status, _, err = self.end(process)
        self.assertEqual(status, 130, err)
        self.assertFalse(any(self.folder.glob("each.npy*")))

    def test_closed_outputs(self):
        """No file of the run takes the place of an output that was closed."""
        for closed in (">&-", "2>&-", ">&- 2>&-", "<&-"):
            name = "closed" + "".join(c for c in closed if c.isdigit() or c == "<")
            words = self.train_arguments(name, "--steps", 3)
            shell = subprocess.run(["bash", "-c", f'exec "$@" {closed}', "bash", e2e.DSPEED, *map(str, words)],
                                   capture_output=True, timeout=60, check=False)
            self.assertEqual(shell.returncode, 1 if closed.startswith(">") else 0, shell.stderr)
            self.assertEqual(len(self.log(name)), 3)
            header = self.weights(name)[8:9]
            self.assertEqual(header, b"{", "text was printed into the model")

    def test_data_cut_short(self):
        self.data.write_text(e2e.text() * 400)
        process = self.begin(*self.train_arguments("run", *LONG))
        with open(self.data, "r+", encoding="utf-8") as file:
            file.truncate(0)
        status, _, err = self.end(process)
        self.assertEqual(status, 1, err)
        self.assertEqual(err.count("\n"), 1)
        self.assertIn(f"{self.data}: cannot be read any more", err)

    def test_folders_in_use(self):
        process = self.begin(*self.train_arguments("run", *LONG))
        busy = self.folder / "run"
        other = self.train_arguments("other", "--steps", 1)
        other[other.index("--log") + 1] = busy / "log"
        self.assert_refused(self.dspeed(*other), "--log", busy / "log", "another process")
        learn = ["tokenizer", "train", "--data", self.data, "--vocab", 300, "--out", busy / "model"]
        self.assert_refused(self.dspeed(*learn), "--out", f"process {process.pid} ")

    def test_a_save_that_is_not_finite(self):
        """In fp16 such steps are skipped; weights that came of it are not written over a save. Nor are
        those that a step with a loss of its own ruined."""
        ruinous = {"optimizer": {"type": "SGD", "params": {"lr": 1e30}}, "gradient_clipping": 0}
        ruined = self.dspeed(*self.train_arguments("wide", "--steps", 3, "--lr", "1e30", "--save-every", 1,
                                                   config=ruinous))
        self.assert_refused(ruined, "the validation loss is", "saved")
        done = self.dspeed(*self.train_arguments("run", "--steps", 6, "--lr", "1e30", "--save-every", 1, config={
            "fp16": {"enabled": True}, **ruinous}))
        self.assert_refused(done, "loss is", "saved")

    def test_what_a_failed_save_left_is_gone_with_the_next(self):
        state = self.folder / "run" / "model" / "resume"
        self.train("run", "--steps", 1)
        for steps in (2, 3):
            words = self.train_arguments("run", "--steps", steps, "--resume")
            failed = self.dspeed(*words, env={"DS_FAILPOINTS": "file.commit=2+:fail:101"})
            self.assertNotEqual(failed.returncode, 0)
            self.assertLessEqual(len(list(state.glob("step-*"))), 2, list(state.iterdir()))
        self.train("run", "--steps", 4, "--resume")
        self.assertEqual(len(list(state.glob("step-*"))), 1, list(state.iterdir()))

    def test_a_batch_beyond_all_bounds(self):
        for key, most in (("train_batch_size", 10 ** 18), ("train_micro_batch_size_per_gpu", 2 ** 31)):
            words = self.train_arguments("run", "--steps", 1, config={key: most})
            self.assert_refused(self.dspeed(*words), "run.json", "train_batch_size", most, 1 << 24)


class Folders(e2e.DspeedTest):
    def test_models_of_others(self):
        """What no run wrote is not replaced by a slip."""
        for name in ("config.json", "model.safetensors", "adapter_config.json"):
            model = self.folder / f"with-{name}" / "model"
            model.mkdir(parents=True)
            (model / name).write_text("theirs")
            words = self.train_arguments(f"with-{name}", "--steps", 1)
            self.assert_refused(self.dspeed(*words), model, name)
            self.assertEqual((model / name).read_text(), "theirs")
        theirs = self.folder / "with-config.json/model"
        (theirs / "generation_config.json").write_text('{"eos_token_id": 33}')
        self.train("with-config.json", "--steps", 1, "--overwrite")
        json.loads((theirs / "config.json").read_text())
        self.assertFalse((theirs / "generation_config.json").exists())
        folder = self.folder / "taken/model"
        (folder / "model.safetensors").mkdir(parents=True)
        self.assert_refused(self.dspeed(*self.train_arguments("taken", "--steps", 1)), folder, "is a folder")

    def test_one_file_for_two_ends(self):
        self.train("run", "--steps", 1)
        before = self.data.read_text()
        for words in (["tokenize", "--data", self.data, "--out", self.data],
                      ["eval", "--model", "run/model", "--data", self.data, "--per-token", self.data],
                      [*self.train_arguments("again", "--steps", 1), "--trace", self.data]):
            self.assert_refused(self.dspeed(*words), self.data, "which is read")
        self.assertEqual(self.data.read_text(), before)
        weights = self.folder / "run/model/model.safetensors"
        self.assert_refused(self.dspeed("eval", "--model", "run/model", "--data", self.data,
                                        "--per-token", weights), weights, "which is read")

    def test_resumes_of_another_model(self):
        self.train("qwen", "--steps", 1, "--preset", "tiny", model=[])
        shutil.copytree(self.folder / "qwen/model", self.folder / "base")
        words = ["train", "--model", "base", "--data", self.data, "--steps", 1, "--context", 20,
                 "--save", "run", "--tokenizer", "bytes"]
        self.assertEqual(self.dspeed(*words).returncode, 0)
        config = json.loads((self.folder / "base/config.json").read_text())
        key = "layer_norm_epsilon" if "layer_norm_epsilon" in config else "rms_norm_eps"
        config[key] = 1e-3
        (self.folder / "base/config.json").write_text(json.dumps(config))
        done = self.dspeed(*words[:-2], "--tokenizer", "bytes", "--resume", "--steps", 2)
        self.assert_refused(done, key, 0.001)
        # Of a run that is done nothing is left to train, and it says so.
        config[key] = 1e-5
        (self.folder / "base/config.json").write_text(json.dumps(config))
        self.assertIn("nothing is left to train", self.dspeed(*words, "--resume").stdout)

    def test_broken_companions(self):
        """What is copied, or only used at the end, is looked at before the run."""
        self.train("run", "--steps", 1)
        base = self.folder / "base"
        shutil.copytree(self.folder / "run/model", base)
        shutil.rmtree(base / "resume")
        (base / "generation_config.json").write_text('{"temperature": "hot"}')
        words = ["train", "--model", base, "--data", self.data, "--steps", 1, "--save", "tuned"]
        # It goes with the model as it is; who generates is told.
        self.ok(*words)
        tuned = self.folder / "tuned"
        self.assertEqual((tuned / "generation_config.json").read_text(), '{"temperature": "hot"}')
        self.ok("eval", "--model", tuned, "--data", self.data)
        self.assert_refused(self.dspeed("generate", "--model", tuned, "--prompt", "a"), "generation_config.json",
                            "temperature")
        shutil.rmtree(tuned)
        (base / "generation_config.json").unlink()
        self.train("adapters", "--model", base, "--lora-rank", 2, "--steps", 1, model=[])
        adapters = self.folder / "adapters/model"
        (adapters / "generation_config.json").write_text('{"eos_token_id": "x"}')
        merged = self.folder / "merged"
        self.ok("merge", "--model", adapters, "--out", merged)
        self.assertEqual((merged / "generation_config.json").read_text(), '{"eos_token_id": "x"}')
        self.assert_refused(self.dspeed("generate", "--model", adapters, "--prompt", "a"),
                            adapters / "generation_config.json", "eos_token_id", "x")
        config = json.loads((base / "config.json").read_text())
        for key, value in (("dtype", "float64"), ("torch_dtype", "int4")):
            (base / "config.json").write_text(json.dumps({**config, "dtype": None, key: value}))
            self.assert_refused(self.dspeed(*words), "config.json", value, "bfloat16")
        ids = self.folder / "ids.bin"
        ids.write_bytes(b"\1\2" * 500)
        self.assert_refused(self.dspeed("eval", "--model", "run/model", "--data", ids), ids, 513, 256)


class Words(e2e.DspeedTest):
    def test_mistyped(self):
        for words, parts in (
                (["trian"], ["dspeed: there is no command trian", "did you mean train?"]),
                (["tokenizer", "trian"], ["dspeed tokenizer: there is no command trian", "train?"]),
                (["train", "--stpes", 3], ["dspeed train: there is no flag --stpes", "--steps?", "dspeed train --help"]),
                (["train", "-steps", 3], ["dspeed train: there is no flag -steps; did you mean --steps?"]),
                (["train", "--stage", 3], ["there is no flag --stage: ", "zero_optimization.stage", "--config"]),
                (["generate", "--prompt", ""], ["dspeed generate: --prompt is empty", "dspeed generate --help"]),
                (["eval", "--xyzzy=1"], ["dspeed eval: there is no flag --xyzzy (see"]),
                (["generate", self.folder, "--prompt", "x"], ["stands behind no flag", f"--model {self.folder}?"]),
                (["train", "none.txt"], ["dspeed train: none.txt stands behind no flag (see"]),
                (["train", "--steps", 3], ["dspeed train: --data or --mix is required (see"]),
                (["train", "--steps", "ten"], ["dspeed train: --steps: ten is not a whole number"]),
                (["train", "--steps", 10**20], ["--steps", 10**20, "more than", 2**63 - 1]),
                (["train", "--seed", -1], ["--seed", "-1 is less than 0"]),
                (["train", "--seed", 2**64], ["--seed", 2**64, "more than", 2**64 - 1]),
                (["train", "--steps", "010"], ["--steps: 010 begins with 0"]),
                (["train", "--seed", "-007"], ["--seed: -007 begins with 0"]),
                (["train", "--ranks", 2**31], ["--ranks", 2**31, "out of range"]),
                (["train", "--resume=maybe"], ["--resume: maybe is neither true nor false"]),
                (["generate", "--temperature", "warm"], ["--temperature: warm is not a number"]),
                (["train", "--lr", "1e-400"], ["--lr: 1e-400 is too small to tell from 0"]),
                (["train", "--lr", "1e400"], ["--lr: 1e400 is too large for a number"])):
            done = self.dspeed(*words)
            self.assert_refused(done, *parts)
            self.assertEqual(done.returncode, 2)
        # The last one counts, so that a script can add to a command line of its own.
        done = self.dspeed("plan", "--steps", "ten", "--steps", 10, "--seed", -1, "--seed", "-0")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_environment(self):
        self.assert_refused(self.dspeed("report", env={"DS_GEMM": "mkl"}), "DS_GEMM", "mkl", "onednn or simd")
        self.assert_refused(self.dspeed("report", env={"DS_CPU_ISA": "avx"}), "DS_CPU_ISA", "avx", "avx2")
        told = self.dspeed("report", env={"DS_GEMM": "simd", "DS_CPU_ISA": "sse4"}).stdout
        self.assertRegex(told, r"simd +used")
        self.assertIn("because DS_GEMM says so", told)
        self.assertIn("sse4 (kernels)", told)


if __name__ == "__main__":
    e2e.unittest.main()
