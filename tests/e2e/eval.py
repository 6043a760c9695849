#!/usr/bin/env python3
"""dspeed eval: what it prints, the array it writes, and that both are the model's own loss."""
import ast
import json
import math
import os
import struct
import sys

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402


def read_npy(path):
    blob = path.read_bytes()
    assert blob[:8] == b"\x93NUMPY\x01\x00", blob[:8]
    length, = struct.unpack("<H", blob[8:10])
    header = ast.literal_eval(blob[10:10 + length].decode("ascii"))
    assert (10 + length) % 64 == 0 and header["descr"] == "<f4" and not header["fortran_order"]
    count, = header["shape"]
    assert len(blob) == 10 + length + 4 * count
    return struct.unpack(f"<{count}f", blob[10 + length:])


class Eval(e2e.DspeedTest):
    def setUp(self):
        super().setUp()
        self.train("run", "--steps", 30, "--lr", 0.01)
        self.model = self.folder / "run/model"

    def evaluate(self, *arguments, data=None):
        return self.dspeed("eval", "--model", self.model, "--data", data or self.data, *arguments)

    def told(self, *arguments, data=None):
        done = self.evaluate("--json", *arguments, data=data)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_figures_agree(self):
        told = self.told("--per-token", self.folder / "scores.npy")
        scores = read_npy(self.folder / "scores.npy")
        self.assertEqual((told["tokens"], told["predicted"]), (6000, 5999))
        self.assertEqual((told["context"], told["stride"], told["bytes"]), (20, 10, 5999))
        self.assertEqual(len(scores), 5999)
        self.assertTrue(all(score < 0 for score in scores))
        self.assertAlmostEqual(-sum(scores) / len(scores), told["loss"], 5)
        self.assertAlmostEqual(told["perplexity"], math.exp(told["loss"]), 9)
        self.assertAlmostEqual(told["bits_per_byte"], told["loss"] / math.log(2), 9)
        self.assertLess(told["loss"], 2.5)  # that of the uniform model is 5.5
        text = self.evaluate().stdout
        for part in (f"{told['loss']:.4f}", f"{told['bits_per_byte']:.4f}", "5999 of them predicted"):
            self.assertIn(part, text)

    def test_one_window_is_the_loss_of_training(self):
        """The validation loss of a text that is one window is what eval says of that window."""
        data = self.folder / "short.txt"
        data.write_text(e2e.text(2 * 21 + 1))
        self.data = data
        self.train("short", "--steps", 3, "--batch", 1, "--eval-every", 3)
        self.model = self.folder / "short/model"
        tail = self.folder / "tail.txt"
        tail.write_text(data.read_text()[-21:])
        self.assertAlmostEqual(self.told(data=tail)["loss"], self.log("short")[-1]["val_loss"], 5)

    def test_more_context_foretells_better(self):
        self.train("run", "--steps", 400, "--lr", 0.01)  # it has to have learned to look back
        whole = self.told("--stride", 1)["loss"]
        self.assertLess(whole, self.told("--context", 2)["loss"])
        self.assertLess(whole, self.told("--stride", 20)["loss"])

    def test_same_bits(self):
        def scores(name, *arguments):
            self.told("--per-token", self.folder / name, *arguments)
            return (self.folder / name).read_bytes()
        first = scores("a.npy")
        self.assertEqual(first, scores("b.npy", "--threads", 1))
        self.assertNotEqual(first, scores("c.npy", "--dtype", "bf16"))

    def test_reads_what_training_reads(self):
        """Of several texts and of ids, the stream of training: what ends a text is predicted too."""
        lines, stream = self.folder / "talk.jsonl", self.folder / "stream.txt"
        texts = [e2e.text(60), e2e.text(45), "x"]
        lines.write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
        stream.write_text("".join(text + "\n" for text in texts))
        told = self.told("--field", "body", data=lines)
        self.assertEqual({**self.told(data=stream), "data": 0, "seconds": 0, "tokens_per_second": 0},
                         {**told, "data": 0, "seconds": 0, "tokens_per_second": 0})
        self.assert_refused(self.evaluate(data=lines), "talk.jsonl", "text")  # no such key
        self.assertNotEqual(self.told("--format", "text", data=lines)["loss"], told["loss"])
        folder, ids = self.folder / "texts", self.folder / "ids.bin"
        folder.mkdir()
        for i, text in enumerate(texts):
            (folder / str(i)).write_text(text)
        self.assertEqual(self.told(data=folder)["loss"], told["loss"])
        ids.write_bytes(struct.pack(f"<{stream.stat().st_size}H", *stream.read_bytes()))
        self.assertEqual(self.told(data=ids)["loss"], told["loss"])
        ids.write_bytes(struct.pack("<4H", 1, 2, 256, 3))
        self.assert_refused(self.evaluate(data=ids), "ids.bin", 256)
        self.assert_refused(self.evaluate("--format", "chat", data=lines), "line 1", "messages")
        # Ids need no tokenizer; without one, what they stand for is not known.
        self.train("ids", "--steps", 1, "--vocab", 300)
        ids.write_bytes(struct.pack("<40H", *range(260, 300)))
        bare = ["eval", "--model", self.folder / "ids/model", "--data", ids, "--json"]
        told = json.loads(self.ok(*bare))
        self.assertEqual((told["predicted"], told["bits_per_byte"]), (39, None))
        self.assertGreater(told["loss"], 1)
        self.assert_refused(self.dspeed(*bare, "--tokenizer", "none"), "none", "No such file")

    def test_refusals(self):
        self.assert_refused(self.evaluate("--context", 21), "--context", 21, 20)
        self.assert_refused(self.evaluate("--stride", 21), "--stride", 21, 20)
        self.assert_refused(self.evaluate("--dtype", "int8"), "--dtype", "int8")
        self.assert_refused(self.evaluate("--threads", -1), "--threads", -1)
        self.assert_refused(self.evaluate(data=self.folder / "none"), "none", "No such file")
        self.assert_refused(self.evaluate("--per-token", self.folder / "no/a.npy"), "no/a.npy")
        self.assert_refused(self.evaluate("--per-token", self.folder), self.folder)
        self.assert_refused(self.dspeed("eval", "--model", self.folder, "--data", self.data),
                            "config.json")
        one = self.folder / "one.txt"
        one.write_text("x")
        self.assert_refused(self.evaluate(data=one), "one.txt", 1, 2)
        self.assertEqual([path.name for path in self.folder.glob("*.npy*")], [])

    def test_full_disk(self):
        arguments = ["eval", "--model", self.model, "--data", self.data]
        self.assert_refused(self.dspeed(*arguments, into="/dev/full"), "No space left")
        self.assert_refused(self.dspeed(*arguments, "--per-token", self.folder / "a.npy",
                                        most_bytes=4096), "a.npy", "too large")
        self.assertEqual(list(self.folder.glob("a.npy*")), [])
        self.assert_refused(self.dspeed(*arguments, "--per-token", "/dev/null"), "/dev/null")


if __name__ == "__main__":
    e2e.unittest.main()
