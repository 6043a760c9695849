#!/usr/bin/env python3
"""dspeed generate: prompts from standard input, where a text stops, JSON, the ways of sampling."""
import json
import os
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402


class Generate(e2e.DspeedTest):
    def setUp(self):
        super().setUp()
        self.train("run", "--steps", 60, "--lr", 0.01)

    def generate(self, *arguments, prompt="abc", **more):
        return self.dspeed("generate", "--model", self.folder / "run/model", "--prompt", prompt,
                           *arguments, **more)

    def told(self, *arguments, **more):
        done = self.generate("--json", *arguments, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_json(self):
        told, = self.told("--tokens", 30, "--seed", 2)
        self.assertEqual((told["prompt"], told["prompt_ids"]), ("abc", [97, 98, 99]))
        self.assertEqual((len(told["ids"]), told["ended_by"]), (30, "length"))
        self.assertEqual(bytes(told["ids"]).decode(errors="replace"), told["text"])
        self.assertEqual(self.generate("--tokens", 30, "--seed", 2).stdout, f"abc{told['text']}\n")

    def test_prompts_of_standard_input(self):
        lines = ["abc", "d e", "abc"]
        told = self.told("--tokens", 12, prompt="-", stdin="\n".join(lines))
        self.assertEqual([t["prompt"] for t in told], lines)
        self.assertEqual(told[0], told[2])  # each as if it were alone
        self.assertEqual(told[1], self.told("--tokens", 12, prompt="d e")[0])
        done = self.generate("--tokens", 3, prompt="-", stdin="ab\ncd\n")
        self.assertEqual([line[:2] for line in done.stdout.splitlines()], ["ab", "cd"])
        self.assert_refused(self.generate(prompt="-", stdin=""), "standard input")
        self.assert_refused(self.generate(prompt="-", stdin="\n\r\n"), "standard input")
        told = self.told("--tokens", 3, prompt="-", stdin="ab\n\r\n\ncd\r\n")
        self.assertEqual([each["prompt"] for each in told], ["ab", "cd"])

    def test_a_prompt_that_grows_as_it_is_composed(self):
        """U+0958 is 3 bytes, and 6 in the composed form that the tokenizer reads."""
        golden = os.environ.get("DS_GOLDEN_DIR") or os.environ["SOURCE_DIR"] + "/tests/golden"
        self.train("qwen2", "--family", "qwen2", "--tokenizer", f"{golden}/hf/tokenizers/qwen2", "--steps", 1,
                   "--batch", 1, "--context", 256, "--ranks", 1, model=["--layers", 1, "--heads", 2, "--width", 16])
        run = ["generate", "--model", self.folder / "qwen2/model", "--json", "--tokens", 20]
        told = [json.loads(self.dspeed(*run, "--prompt", prompt, stdin=stdin).stdout)
                for prompt, stdin in (("\u0958" * 30, ""), ("-", "\u0958" * 30))]
        self.assertEqual(told[0], told[1])
        self.assertGreater(len(told[0]["prompt_ids"]), 90 + 64)

    def test_several_prompts(self):
        told = self.told("--tokens", 8, "--prompt", "[d, e]", "--prompt", "-", stdin="ab\n")
        self.assertEqual([each["prompt"] for each in told], ["abc", "[d, e]", "ab"])
        self.assertEqual(told[0], self.told("--tokens", 8)[0])
        done = self.generate("--tokens", 1, prompt="a" * 300)
        self.assertIn("of the 300 tokens of the prompt the model sees the last", done.stderr)
        self.assertEqual(self.generate("--tokens", 1).stderr, "")

    def test_an_interrupt_while_it_waits_for_a_line(self):
        process = subprocess.Popen([e2e.DSPEED, "generate", "--model", self.folder / "run/model", "--prompt", "-",
                                    "--tokens", "3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        process.stdin.write(b"abc\nd")
        process.stdin.flush()
        self.assertTrue(process.stdout.readline().startswith(b"abc"))
        process.send_signal(signal.SIGINT)
        told, said = process.communicate(timeout=30)
        self.assertEqual((process.returncode, told), (130, b""), said)

    def test_what_cannot_be_read_is_named(self):
        self.train("words", "--steps", 1, "--tokenizer",
                   pathlib.Path(os.environ["SOURCE_DIR"]) / "tests/golden/hf/tokenizers/gpt2")
        ask = [e2e.DSPEED, "generate", "--model", self.folder / "words/model", "--prompt", "-"]
        done = subprocess.run(ask, input=b"\n\xff\n", capture_output=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, rb"^dspeed generate: line 2 of standard input: .*0xff")
        folder = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, folder)
        done = subprocess.run(ask, stdin=folder, capture_output=True, text=True, timeout=60, check=False)
        self.assert_refused(done, "cannot read standard input", "directory")

    def test_stop(self):
        whole = self.told("--tokens", 60, "--temperature", 0)[0]["text"]
        for stops in ([" "], [whole[5:8]], [whole[3:6], "zzz"], [whole[7:9], whole[9:12]]):
            flags = [part for stop in stops for part in ("--stop", stop)]
            told, = self.told("--tokens", 60, "--temperature", 0, *flags)
            ends = [whole.find(stop) for stop in stops if stop in whole]
            self.assertEqual(told["text"], whole[:min(ends)])
            self.assertEqual(told["ended_by"], "stop")
            plain = self.generate("--tokens", 60, "--temperature", 0, *flags)
            self.assertEqual(plain.stdout, "abc" + whole[:min(ends)] + "\n")
        told, = self.told("--tokens", 60, "--temperature", 0, "--stop", whole[-3:] + "never")
        self.assertEqual((told["text"], told["ended_by"]), (whole, "length"))

    def test_sampling(self):
        greedy = self.told("--tokens", 40, "--temperature", 0)[0]["ids"]
        for narrow in (["--top-p", 1e-6], ["--min-p", 1], ["--top-k", 1]):
            self.assertEqual(self.told("--tokens", 40, *narrow)[0]["ids"], greedy, narrow)
        free = self.told("--tokens", 40, "--temperature", 2)[0]["ids"]
        self.assertNotEqual(self.told("--tokens", 40, "--temperature", 2, "--top-p", 0.5)[0]["ids"], free)
        self.assertNotEqual(self.told("--tokens", 40, "--temperature", 2, "--min-p", 0.3)[0]["ids"], free)
        varied = self.told("--tokens", 40, "--temperature", 0, "--repetition-penalty", 1e6)[0]["ids"]
        self.assertGreater(len(set(varied)), len(set(greedy)))
        self.assertEqual(self.told("--tokens", 40, "--temperature", 2)[0]["ids"], free)

    def test_refusals(self):
        for flag, value, name in (("--top-p", 0, "top_p"), ("--top-p", 1.5, "top_p"),
                                  ("--min-p", -1, "min_p"), ("--top-k", -2, "top_k"),
                                  ("--repetition-penalty", 0, "repetition_penalty"),
                                  ("--temperature", "nan", "temperature")):
            self.assert_refused(self.generate(flag, value), name, value)
        self.assert_refused(self.generate("--stop", ""), "--stop")
        self.assert_refused(self.generate(into="/dev/full"), "No space left")


if __name__ == "__main__":
    e2e.unittest.main()
