#!/usr/bin/env python3
"""Help, manual page, completion and bench: there, whole, and in agreement with the commands."""
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

COMMANDS = ["train", "plan", "generate", "eval", "merge", "tokenize", "tokenizer", "config",
            "report", "bench", "man", "completion"]


class Pages(e2e.DspeedTest):
    def flags(self, *command):
        text = self.dspeed(*command, "--help").stdout
        return sorted(set(re.findall(r"(?m)^  (?:-h, )?(--[\w-]+)", text)))

    def test_help(self):
        page = self.dspeed("--help").stdout
        for command in COMMANDS:
            self.assertRegex(page, rf"(?m)^  {command} +\w")
            help_page = self.dspeed(command, "--help")
            self.assertEqual(help_page.returncode, 0)
            self.assertIn(f"dspeed {command}", help_page.stdout)
            for line in help_page.stdout.splitlines():
                self.assertLessEqual(len(line), 92, line)
        train = self.dspeed("train", "--help").stdout
        for part in ("What is trained", "--data FILE", "--steps N", "--lr X", "--save DIR", "[0]",
                     "Examples"):
            self.assertIn(part, train)
        # Each flag of so many stands where its subject is.
        self.assertEqual(re.findall(r"(?m)^  (?:-h, )?(--[\w-]+)", train[train.index("\nOptions\n"):]), ["--help"])

    def test_manual_page(self):
        page = self.dspeed("man").stdout
        self.assertTrue(page.startswith(".TH DSPEED 1"))
        for command in COMMANDS:
            self.assertIn(f".SS dspeed {command}", page)
            for flag in self.flags(command):
                if flag != "--help":
                    self.assertIn(flag.replace("-", "\\-"), page)
        self.assertIn(".SS dspeed tokenizer train", page)
        for flag in self.flags("tokenizer", "train"):
            if flag != "--help":
                self.assertIn("\n.B " + flag.replace("-", "\\-"), page)
        self.assertRegex(page, r"129.*\n?.*SIGHUP")
        with open(os.environ["BUILD_DIR"] + "/share/man/man1/dspeed.1", encoding="utf-8") as file:
            self.assertEqual(file.read(), page)
        if shutil.which("groff"):
            done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-z"], input=page, text=True,
                                  capture_output=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def complete(self, *words, program=e2e.DSPEED):
        """What bash would offer for the last word."""
        script = self.folder / "completion"
        script.write_text(self.dspeed("completion").stdout)
        listed = " ".join(f"'{word}'" for word in (program, *words))
        done = subprocess.run(
            ["bash", "-c", f". {script}; COMP_WORDS=({listed}); COMP_CWORD={len(words)}; _dspeed; "
                           'printf "%s\\n" "${COMPREPLY[@]}"'],
            capture_output=True, text=True, cwd=self.folder, timeout=60,
            env={**os.environ, "HOME": str(self.folder)})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.splitlines()

    def test_completion(self):
        self.assertEqual(self.complete("ev"), ["eval"])
        self.assertEqual(set(self.complete("")), {*COMMANDS, "--help", "--version"})
        for command in COMMANDS:
            self.assertEqual(sorted(self.complete(command, "--")), self.flags(command))
        self.assertEqual(sorted(self.complete("tokenizer", "train", "--")), self.flags("tokenizer", "train"))
        self.assertEqual(self.complete("tokenizer", ""), ["train"])
        self.assertEqual(self.complete("train", "--family", "qwen"), ["qwen2", "qwen3"])
        self.assertEqual(self.complete("train", "--dtype", "b"), ["bf16"])
        self.assertEqual(self.complete("train", "--preset", "nano"), ["nanogpt-char-cpu"])
        self.assertEqual(self.complete("tokenizer", "train", "--split", "s"), ["smollm"])
        self.assertEqual(self.complete("eval", "--data", "te"), ["text.txt"])

    def test_completion_of_a_value_behind_its_sign(self):
        """As bash cuts the line: --dtype = b."""
        self.assertEqual(self.complete("train", "--dtype", "=", "b"), ["bf16"])
        self.assertEqual(self.complete("train", "--dtype", "="), ["fp32", "bf16", "fp16"])
        self.assertEqual(self.complete("train", "--preset", "=", "nano"), ["nanogpt-char-cpu"])
        self.assertEqual(self.complete("train", "--data", "=", "te"), ["text.txt"])

    def test_completion_of_names_with_spaces(self):
        (self.folder / "my text.txt").touch()
        (self.folder / "my preset.json").touch()
        (self.folder / "my model").mkdir()
        self.assertEqual(sorted(self.complete("train", "--data", "my")), ["my model", "my preset.json", "my text.txt"])
        self.assertEqual(self.complete("train", "--tokenizer", "my t"), ["my text.txt"])
        self.assertEqual(self.complete("train", "--preset", "my"), ["my preset.json"])
        self.assertEqual(self.complete("train", "--save", "my"), ["my model"])

    def test_completion_asks_the_program_below_home(self):
        (self.folder / "bin").symlink_to(os.path.dirname(e2e.DSPEED))
        program = "~/bin/" + os.path.basename(e2e.DSPEED)
        self.assertEqual(self.complete("train", "--preset", "tin", program=program), ["tiny"])

    def test_bench(self):
        done = self.dspeed("bench", "--json", "--seconds", 0.01, "--dir", self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = json.loads(done.stdout)
        subjects = " ".join(row["subject"] for row in rows)
        for part in ("memory copy", "matrix product", "AdamW", "2 ranks", "4 ranks", "file"):
            self.assertIn(part, subjects)
        self.assertTrue(all(row["value"] > 0 for row in rows))
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["text.txt"])
        self.assertRegex(self.dspeed("bench", "--seconds", 0.01).stdout, r"memory copy +1 thread .*GB/s")
        self.assert_refused(self.dspeed("bench", "--dir", self.folder / "no"), "no")
        self.assert_refused(self.dspeed("bench", "--seconds", 0), "--seconds", 0)
        self.assert_refused(self.dspeed("bench", "--dir", self.folder, most_bytes=1 << 20), "too large")


if __name__ == "__main__":
    e2e.unittest.main()
