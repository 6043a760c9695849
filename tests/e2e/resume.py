#!/usr/bin/env python3
"""A run that was killed or interrupted goes on as if it had not been; nothing is ever half-written."""
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

STEPS = 12
RUN = ["--steps", STEPS, "--ranks", 2, "--eval-every", 5]
ZERO3 = {"zero_optimization": {"stage": 3}, "bf16": {"enabled": True}}


def is_whole_safetensors(blob):
    length, = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8:8 + length])
    ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
    return 8 + length + max(ends) == len(blob)


class Resume(e2e.DspeedTest):
    def kill_at(self, name, line_count, signal_number, *arguments, config=None, steps=STEPS):
        """Starts training and sends the signal once the log has so many lines; the exit status."""
        command = [e2e.DSPEED, *map(str, self.train_arguments(
            name, *RUN, "--steps", steps, *arguments, config=config))]
        log = self.folder / name / "log" / "log.jsonl"
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)) as process:
            end = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < end:
                if log.exists() and log.read_bytes().count(b"\n") >= line_count:
                    process.send_signal(signal_number)
                    break
                time.sleep(0.001)
            output = process.communicate(timeout=60)
        return process.returncode, output

    def test_killed_runs_go_on_to_the_bit(self):
        self.train("whole", *RUN, "--eval-every", 1, config=ZERO3)  # as a save does
        for at in (1, 4, 7):
            name = f"killed-{at}"
            # Long enough that the kill meets it; the schedule is that of the config.
            self.kill_at(name, at, signal.SIGKILL, "--save-every", 1, config=ZERO3)
            for blob in (self.folder / name / "model").glob("*.safetensors"):
                self.assertTrue(is_whole_safetensors(blob.read_bytes()), blob)
            self.train(name, *RUN, "--save-every", 1, "--resume", config=ZERO3)
            self.assertEqual(self.curve(name), self.curve("whole"))
            self.assertEqual(self.weights(name), self.weights("whole"))

    def test_killed_before_the_first_save_starts_again(self):
        self.train("whole", *RUN)
        self.kill_at("early", 2, signal.SIGKILL)
        done = self.train("early", *RUN, "--resume")
        self.assertEqual(self.curve("early"), self.curve("whole"))
        self.assertIn("starting at step 0", done.stdout)

    def test_interrupt_saves_and_leaves(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            name = f"signal-{number}"
            status, (out, err) = self.kill_at(name, 2, number, steps=100000)
            self.assertEqual(status, 128 + number, err)
            self.assertIn(b"stopped", out)
            self.assertIn(b"the same command with --resume", out)
            stopped = self.log(name)[-1]["step"]
            manifest = json.loads((self.folder / name / "model/resume/run.json").read_text())
            self.assertEqual(manifest["step"], stopped)
            # A run is not replaced by a slip.
            before = self.weights(name)
            self.assert_refused(self.dspeed(*self.train_arguments(name, *RUN)), "--resume",
                                "--overwrite", f"step {stopped} of 100000")
            self.assertEqual(self.weights(name), before)
            if number == signal.SIGTERM:
                self.train(name, *RUN, "--overwrite")
                self.assertEqual(len(self.log(name)), STEPS)
                self.assert_refused(self.dspeed(*self.train_arguments(name, *RUN)), "--resume",
                                    "--overwrite", f"done at step {STEPS}")
                continue
            self.train(name, *RUN, "--steps", stopped + 2, "--resume")
            self.assertEqual(self.log(name)[-1]["step"], stopped + 2)

    def test_a_reader_that_leaves(self):
        """As of `dspeed train ... | head`: saved, too. A second Ctrl-C is not what it is."""
        command = [e2e.DSPEED, *map(str, self.train_arguments("run", *RUN, "--steps", 100000))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            process.stdout.close()
            err = process.stderr.read()
            self.assertEqual(process.wait(timeout=60), 128 + signal.SIGPIPE, err)
        self.assertIn("Broken pipe", err)
        stopped = self.log("run")[-1]["step"]
        self.train("run", *RUN, "--steps", stopped + 2, "--resume")
        self.assertEqual(self.log("run")[-1]["step"], stopped + 2)

    def test_an_overwrite_that_fails_at_its_end(self):
        """Whatever fails, the model that was there is whole, and that of the run is its run's."""
        self.train("run", *RUN)
        good = self.files("run/model")
        state = self.folder / "run/model/resume"
        anew = self.train_arguments("run", *RUN, "--seed", 7, "--overwrite")
        failed = 0
        for point in ("file.create", "file.commit"):
            for at in range(1, 20):
                done = self.dspeed(*anew, env={"DS_FAILPOINTS": f"{point}={at}:fail:101"})
                saved = json.loads((state / "run.json").read_text())
                if saved["facts"]["seed"] == 7:
                    break  # all of it is there
                failed += 1
                self.assertNotEqual(done.returncode, 0)
                if (state / "model").read_text() == f"of save {saved['save']}\n":
                    self.assertEqual(self.files("run/model"), good, (point, at, done.stderr))
                self.train("run", *RUN, "--resume")
                self.assertEqual(self.files("run/model"), good, (point, at, done.stderr))
                self.assertEqual(len(list(state.glob("*.safetensors"))), 2)
            self.assertNotEqual(self.files("run/model"), good)
            self.train("run", *RUN)
            self.assertEqual(self.files("run/model"), good)
        self.assertGreater(failed, 12)

    def files(self, folder):
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in (self.folder / folder).iterdir() if path.is_file()}

    def test_a_damaged_manifest(self):
        self.train("run", *RUN)
        whole = self.weights("run")
        manifest = self.folder / "run/model/resume/run.json"
        manifest.write_text(manifest.read_text()[:40])
        for flags in ([], ["--resume"]):
            self.assert_refused(self.dspeed(*self.train_arguments("run", *RUN, *flags)), manifest, "--overwrite")
        self.train("run", *RUN)
        self.assertEqual(self.weights("run"), whole)
        slices = [path.name for path in manifest.parent.glob("*.safetensors")]
        self.assertEqual(len(slices), 2, slices)

    def test_a_manifest_that_is_gone(self):
        """A copy of a folder may lack it: the trained model is not replaced by a slip."""
        self.train("run", *RUN, "--save-every", 4)
        whole = self.weights("run")
        manifest = self.folder / "run/model/resume/run.json"
        kept = manifest.read_text()
        manifest.unlink()
        for flags in ([], ["--resume"]):
            done = self.dspeed(*self.train_arguments("run", *RUN, *flags))
            self.assert_refused(done, "config.json", "resume/run.json is not there", "--overwrite")
        self.assertEqual(self.weights("run"), whole)
        manifest.write_text(kept.replace('"seed": 0', '"seed": 1'))
        done = self.dspeed(*self.train_arguments("run", *RUN, "--resume", "--seed", 1))
        self.assert_refused(done, manifest, "has checksum")
        manifest.write_text(kept)
        self.train("run", *RUN, "--resume", "--steps", STEPS + 1)
        manifest.unlink()
        self.train("run", *RUN)  # with --overwrite

    def test_another_stage_and_world_may_go_on(self):
        self.train("a", *RUN, config={"zero_optimization": {"stage": 1}, "bf16": {"enabled": True}})
        self.train("b", *RUN, "--steps", 6, "--save-every", 6, config={
            **ZERO3, "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2}}})
        base = self.curve("b")
        # The same world under another placement: what is kept is the same.
        self.train("b", "--steps", 8, "--ranks", 2, "--resume", config={
            "zero_optimization": {"stage": 0}, "bf16": {"enabled": True},
            "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2}}})
        self.assertEqual(len(self.curve("b")), 8)
        self.assertEqual(self.curve("b")[:5], base[:5])
        # And weights, or all state, in groups: which rank has which slice is another matter there.
        for steps, groups in ((9, {"mics_shard_size": 2}), (10, {"zero_hpz_partition_size": 2})):
            self.train("b", "--steps", steps, "--ranks", 4, "--resume", config={
                **ZERO3, "zero_optimization": {"stage": 3, **groups},
                "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2}}})
        self.train("b", "--steps", 11, "--ranks", 4, "--resume", config={
            **ZERO3, "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2}}})
        self.assertEqual([row["step"] for row in self.log("b")], list(range(1, 12)))

    def test_groups_go_on_to_the_bit(self):
        """Saved under one placement and read under another, in one world: the bits of one run."""
        fp16 = {"fp16": {"enabled": True, "initial_scale_power": 15}}
        flat = {**fp16, "zero_optimization": {"stage": 1}}
        grouped = [{**fp16, "zero_optimization": {"stage": 3, **more}}
                   for more in ({"mics_shard_size": 2}, {"zero_hpz_partition_size": 2})]
        self.train("moved", *RUN, "--eval-every", 1, "--ranks", 4, "--steps", 3, "--save-every", 3, config={
            **grouped[0], **self.schedule()})
        for steps, config in ((5, grouped[1]), (8, flat)):
            self.train("moved", *RUN, "--eval-every", 1, "--ranks", 4, "--steps", steps, "--resume", config={
                **config, **self.schedule()})
        self.train("whole", *RUN, "--eval-every", 1, "--ranks", 4, "--steps", 8, config={**flat, **self.schedule()})
        self.assertEqual(self.weights("moved"), self.weights("whole"))
        self.assertEqual(self.curve("moved"), self.curve("whole"))

    @staticmethod
    def schedule():
        return {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2}}}

    def test_one_run_a_folder(self):
        """While it lasts, however it ends; the next save leaves nothing of a killed one."""
        command = [e2e.DSPEED, *map(str, self.train_arguments("run", "--steps", 1000000))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            self.assertTrue(process.stdout.readline())
            done = self.dspeed(*self.train_arguments("run", *RUN))
            self.assert_refused(done, self.folder / "run/model", f"process {process.pid} ")
            process.kill()
        model = self.folder / "run/model"
        model.mkdir(exist_ok=True)
        ours = [model / "model.safetensors.tmp.7.0", model / "config.json.tmp.71.23",
                model / "resume/run.json.tmp.5.1"]
        others = [model / "notes.tmp.7.0", model / "config.json.tmp.old", model / "config.json.tmp.7"]
        for path in (*ours, *others):
            path.write_text("x")
        self.train("run", *RUN)
        self.assertEqual([path.exists() for path in (*ours, *others)], [False] * 3 + [True] * 3)

    def test_a_tokenizer_goes_with_its_run(self):
        self.train("run", *RUN, "--tokenizer", "chars")
        model = self.folder / "run/model"
        self.assertTrue((model / "characters.json").exists())
        self.train("run", *RUN)
        self.assertFalse((model / "characters.json").exists())
        other = self.folder / "other/model"
        other.mkdir(parents=True)
        (other / "tokenizer.json").write_text("{}")
        self.assert_refused(self.dspeed(*self.train_arguments("other", *RUN)), other, "tokenizer.json")
        self.assertEqual((other / "tokenizer.json").read_text(), "{}")

    def test_another_run_is_refused(self):
        self.train("run", *RUN)
        before = self.weights("run")
        self.assert_refused(
            self.dspeed(*self.train_arguments("run", *RUN, "--resume", "--seed", 5)),
            "seed", 0, 5)
        self.assert_refused(
            self.dspeed(*self.train_arguments("run", *RUN, "--resume", "--dtype", "bf16")),
            "dtype", "f32", "bf16")
        self.data.write_text(e2e.text(seed=9))
        self.assert_refused(self.dspeed(*self.train_arguments("run", *RUN, "--resume")),
                            "data checksum")
        # All that differs at once.
        done = self.dspeed(*self.train_arguments("run", *RUN, "--resume", "--seed", 5, "--batch", 6))
        self.assert_refused(done, "its batch is", "this run's is 6; its data checksum is",
                            "its seed is 0, this run's is 5; the text, or the tokenizer")
        self.assertEqual(self.weights("run"), before)

    def test_the_rate_stays_where_nobody_says_another(self):
        self.train("run", *RUN, "--lr", 0.0123)
        again = self.train("run", *RUN, "--resume", "--steps", 30)
        self.assertIn("lr 0.0123 (as before)", again.stdout)
        again = self.train("run", *RUN, "--resume", "--steps", 31, "--lr", 0.02)
        self.assertIn("lr 0.02 (--lr)", again.stdout)
        done = self.dspeed(*self.train_arguments("run", *RUN, "--resume", "--ranks", 3))
        self.assert_refused(done, "3 ranks cannot share evenly: --ranks that divide it", "keeps its batch")

    def test_damaged_state_is_found(self):
        self.train("run", *RUN)
        state = self.folder / "run" / "model" / "resume"
        victim = sorted(state.glob("*.safetensors"))[0]
        whole = victim.read_bytes()
        command = self.train_arguments("run", *RUN, "--resume", "--steps", STEPS + 1)
        victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        self.assert_refused(self.dspeed(*command), victim.name, "checksum")
        victim.write_bytes(whole[:len(whole) // 2])
        self.assert_refused(self.dspeed(*command), victim.name)
        victim.unlink()
        self.assert_refused(self.dspeed(*command), victim.name)
        (state / "run.json").write_text("{")
        self.assert_refused(self.dspeed(*command), "run.json")


if __name__ == "__main__":
    e2e.unittest.main()
