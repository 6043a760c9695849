#!/usr/bin/env python3
"""Ranks that mpirun started: the bits of threads, one voice, a resume, and ranks that die."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

MPIRUN = os.environ.get("MPIRUN") or shutil.which("mpirun")
BUILT = os.path.exists(os.environ["BUILD_DIR"] + "/lib/libdeepspeed_mpi.so")
# Open MPI's words for: as root, and on fewer cores than ranks.
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
           "OMPI_MCA_rmaps_base_oversubscribe": "1"}
KILLS = int(os.environ.get("KILLS", 1))
CONFIG = {"train_batch_size": 8, "zero_optimization": {"stage": 3, "overlap_comm": True}}


@unittest.skipUnless(MPIRUN and BUILT, "no mpirun, or the library was built without MPI")
class Mpi(e2e.DspeedTest):
    def start(self, ranks, *arguments):
        command = [MPIRUN, "-n", ranks, e2e.DSPEED, *arguments]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, errors="replace",
                                cwd=self.folder, env={**os.environ, **AS_ROOT})

    def job(self, ranks, name, *arguments, config=None):
        process = self.start(ranks, *self.train_arguments(name, *arguments, config=config))
        self.addCleanup(process.kill)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def train_job(self, ranks, name, *arguments, config=None):
        status, out, err = self.job(ranks, name, *arguments, config=config)
        self.assertEqual(status, 0, err)
        self.assertEqual(err, "")
        self.assertEqual(out.count("\nvalidation loss"), 1, out)  # one rank speaks
        return out

    def test_processes_give_the_bits_of_threads(self):
        for ranks, dtype in ((2, "fp32"), (4, "bf16")):
            config = {**CONFIG, "bf16": {"enabled": dtype == "bf16"}}
            flags = ["--steps", 5, "--seed", 3]
            threads, job = f"threads-{ranks}", f"job-{ranks}"
            self.train(threads, "--ranks", ranks, *flags, config=config)
            out = self.train_job(ranks, job, *flags, config=config)
            self.assertIn(f"{ranks} (mpi)", out)
            self.assertEqual(self.curve(job), self.curve(threads))
            self.assertEqual(self.weights(job), self.weights(threads))

    def test_processes_that_read_other_texts(self):
        """As hosts may have them: told at the start, with both."""
        command = [MPIRUN]
        for rank, size in enumerate((900, 1200)):
            folder = self.folder / str(rank)
            folder.mkdir()
            (folder / "t.txt").write_text(e2e.text(size))
            command += [*([":"] if rank else []), "-n", "1", "-wdir", folder, e2e.DSPEED, "train", "--data", "t.txt",
                        *e2e.MODEL, "--epochs", 1, "--timeout", 30]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60,
                              env={**os.environ, **AS_ROOT})
        self.assertNotEqual(done.returncode, 0)
        for part in ("data: rank 0 has t.txt", "900 bytes", "rank 1 has t.txt", "1200 bytes"):
            self.assertIn(part, done.stderr)

    def test_processes_that_are_told_other_things(self):
        """Each case: the flags of either, and what is told of both at the start."""
        self.train_job(2, "run", "--steps", 3, config=CONFIG)
        run = self.folder / "run/model"
        before = sorted(run.rglob("*"))
        for name in "ab":
            (self.folder / name).mkdir()
        (self.folder / "t").write_text(e2e.text(900))
        fresh, on = ["--data", self.data, *e2e.MODEL], ["--data", self.data, "--model", run]
        mix = ["--data", f"{self.data}=1", *e2e.MODEL]
        cases = (
            ([*fresh, "--dropout", 0.5], fresh, "model: rank 0 has", "_pdrop"),
            ([*fresh, "--steps", 4], fresh, "train: rank 0 has --steps 4, rank 1 has --steps 3"),
            ([*on, "--context", 12], [*on, "--context", 16], "rank 0 has --context 12, rank 1 has --context 16"),
            ([*on, "--seed", 1], [*on, "--seed", 2], "rank 0 has --seed 1, rank 1 has --seed 2"),
            ([*mix, "--data", f"{self.folder}/t=3"], [*mix, "--data", f"{self.folder}/t=1"],
             "rank 0 has 0.25 of the samples from", "rank 1 has 0.5 of the samples from"),
            ([*fresh, "--save", "m"], fresh, "train: rank 0 has --save, rank 1 has no --save"),
            ([*fresh, "--save", self.folder / "a/m"], [*fresh, "--save", self.folder / "b/m"],
             "--save: what rank 0 writes rank 1 does not see in", "b/m; it has to be one folder for all ranks"),
            ([*fresh, "--steps", 9, "--resume", "--save", run],
             [*fresh, "--steps", 9, "--resume", "--save", self.folder / "b/other"],
             "train: rank 0 has a run to go on from, at step 3", "rank 1 has no run to go on from"),
        )
        config = self.folder / "z.json"
        config.write_text(json.dumps(CONFIG))
        for first, second, *told in cases:
            with self.subTest(told=told[0]):
                command = [MPIRUN]
                for flags in (first, second):
                    command += [*([":"] if flags is second else []), "-n", "1", e2e.DSPEED, "train", "--steps", 3,
                                "--config", config, "--timeout", 4, *flags]
                done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False,
                                      timeout=60, cwd=self.folder, env={**os.environ, **AS_ROOT})
                self.assertNotEqual(done.returncode, 0)
                for part in told:
                    self.assertIn(part, done.stderr)
        self.assertEqual(sorted(run.rglob("*")), before)
        self.train_job(2, "run", "--steps", 5, "--resume", config=CONFIG)

    def test_every_family_gives_the_bits_of_threads(self):
        """With dropout; threads at stage 0, processes at another, with and without recomputation."""
        for at, family in enumerate(("gpt2", "llama", "mistral", "qwen2", "qwen3")):
            flags = ["--family", family, "--steps", 3, "--seed", 7, "--dropout", 0.1]
            threads, job = f"threads-{family}", f"job-{family}"
            self.train(threads, "--ranks", 2, *flags, config={"train_batch_size": 8})
            self.train_job(2, job, *flags, *[[], ["--recompute"]][at % 2],
                           config={"train_batch_size": 8,
                                   "zero_optimization": {"stage": (3, 2, 1, 3, 0)[at]}})
            self.assertEqual(self.curve(job), self.curve(threads))
            self.assertEqual(self.weights(job), self.weights(threads))

    def test_each_process_traces_itself_and_one_monitors(self):
        config = {**CONFIG, "csv_monitor": {"enabled": True, "output_path": str(self.folder / "csv")}}
        self.train_job(2, "job", "--steps", 3, "--trace", self.folder / "t.json", config=config)
        for rank, name in enumerate(("t.json", "t.json.rank-1")):
            spans = json.loads((self.folder / name).read_text())["traceEvents"]
            self.assertEqual({span["pid"] for span in spans}, {rank})
            self.assertEqual(sum(span["name"] == "optimizer step" for span in spans), 3)
        curve = self.folder / "csv/DeepSpeedJobName/Train_Samples_train_loss.csv"
        self.assertEqual(len(curve.read_text().splitlines()), 1 + 3)

    def test_a_run_goes_on_from_threads_to_processes_and_back(self):
        # A schedule that does not depend on the number of steps.
        config = {**CONFIG, "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2}}}
        self.train("whole", "--ranks", 2, "--steps", 9, config=config)
        self.train("parts", "--ranks", 2, "--steps", 3, config=config)
        self.train_job(2, "parts", "--steps", 6, "--resume", config=config)
        self.train("parts", "--ranks", 2, "--steps", 9, "--resume", config=config)
        # The parts also validated at their ends.
        losses = [[row["loss"] for row in self.log(name)] for name in ("parts", "whole")]
        self.assertEqual(losses[0], losses[1])
        self.assertEqual(self.weights("parts"), self.weights("whole"))

    def test_a_count_that_differs_is_refused(self):
        status, _, err = self.job(2, "run", "--ranks", 3)
        self.assertNotEqual(status, 0)
        self.assertEqual(err.count("--ranks is 3, but the launcher started 2 processes"), 1, err)

    def test_a_killed_rank_is_named(self):
        for turn in range(KILLS):
            with self.subTest(turn=turn):
                self.kill_one(f"run-{turn}", turn)

    def kill_one(self, name, turn):
        """Of two ranks, at another moment each turn."""
        folder = self.folder / name
        process = self.start(2, *self.train_arguments(name, "--steps", 1000000,
                                                      "--timeout", 60, config=CONFIG))
        self.addCleanup(process.kill)
        log = folder / "log" / "log.jsonl"
        end = time.monotonic() + 60
        while time.monotonic() < end and not (log.exists() and log.stat().st_size > 0):
            time.sleep(0.05)
        children = [int(child) for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir()
                    for child in (task / "children").read_text().split()]
        ranks = [child for child in children
                 if b"train" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")]
        self.assertEqual(len(ranks), 2, children)
        time.sleep(0.003 * (turn % 10))
        os.kill(ranks[1], signal.SIGKILL)
        killed = time.monotonic()
        _, err = process.communicate(timeout=60)
        self.assertLess(time.monotonic() - killed, 20)
        self.assertRegex(err, r"dspeed train: rank [01] died \(process %d\) \(seen by rank [01] in "
                              r"\w+\(" % ranks[1])


if __name__ == "__main__":
    e2e.unittest.main()
