#!/usr/bin/env python3
"""Tokenizers and data of every kind through the program."""
import json
import os
import pathlib
import random
import re
import shutil
import struct
import sys
import unittest

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

GOLDEN = pathlib.Path(os.environ["SOURCE_DIR"]) / "tests/golden"
GPT2 = GOLDEN / "hf/tokenizers/gpt2"
SHORT = ["--steps", 3, "--batch", 4]


class Tokens(e2e.DspeedTest):
    def generate(self, name, *arguments):
        return self.ok("generate", "--model", self.folder / name / "model", "--prompt", "abc",
                       "--tokens", 20, *arguments)

    def test_one_step_is_one(self):
        """Not the first of a warm-up, at a rate of 0."""
        self.train("run", "--steps", 1, "--lr", 0.25)
        self.assertEqual(self.log("run")[0]["lr"], 0.25)

    def test_characters(self):
        text = e2e.text() + "\u00e9\u4e16 " * 20
        self.data.write_text(text)
        done = self.train("run", *SHORT, "--tokenizer", "chars")
        self.assertIn("nats a character", done.stdout)
        saved = json.loads((self.folder / "run/model/characters.json").read_text())
        self.assertEqual(saved["characters"], sorted(set(text)))
        config = json.loads((self.folder / "run/model/config.json").read_text())
        self.assertEqual(config["vocab_size"], len(set(text)))
        out = self.generate("run")
        self.assertTrue(out.startswith("abc"))
        self.assertEqual(len(out), 3 + 20 + 1)
        refused = self.dspeed("generate", "--model", self.folder / "run/model", "--prompt", "Q")
        self.assert_refused(refused, "--prompt", "U+0051")
        other = self.folder / "other.txt"
        other.write_text("Q" + e2e.text())
        self.train("both", *SHORT, "--data", other, "--tokenizer", "chars")
        saved = json.loads((self.folder / "both/model/characters.json").read_text())
        self.assertEqual(saved["characters"], sorted(set(text + "Q")))
        # Another text has other characters, so those of the first run are named.
        self.data.write_text("Q" + text)
        refused = self.dspeed("train", "--data", self.data, *e2e.MODEL, "--steps", 1,
                              "--tokenizer", self.folder / "run/model")
        self.assert_refused(refused, self.data, "U+0051")

    def test_tokenizer_of_a_folder(self):
        done = self.train("run", *SHORT, "--tokenizer", GPT2)
        self.assertIn("vocabulary 1000", done.stdout)
        self.assertIn("nats a token", done.stdout)
        saved = self.folder / "run/model/tokenizer.json"
        self.assertEqual(saved.read_bytes(), (GPT2 / "tokenizer.json").read_bytes())
        config = json.loads((self.folder / "run/model/config.json").read_text())
        self.assertEqual((config["vocab_size"], config["eos_token_id"]), (1000, 996))
        self.assertTrue(self.generate("run").startswith("abc"))
        padded = self.train("padded", *SHORT, "--tokenizer", GPT2, "--vocab", 1024)
        self.assertIn("vocabulary 1024", padded.stdout)
        self.assertTrue(self.generate("padded", "--seed", 5).startswith("abc"))
        self.assert_refused(self.dspeed("train", "--data", self.data, "--tokenizer", GPT2, "--vocab",
                                        999), "--vocab", 999, 1000)

    def test_resume(self):
        run = ["--batch", 4, "--tokenizer", GPT2]
        self.train("run", *run, "--steps", 3)
        self.train("run", *run, "--steps", 6, "--resume")
        self.assertEqual([row["step"] for row in self.log("run")], [1, 2, 3, 4, 5, 6])
        other = self.dspeed(*self.train_arguments("run", "--batch", 4, "--tokenizer",
                                                  GOLDEN / "hf/tokenizers/llama3", "--resume"))
        self.assert_refused(other, "cannot resume", "data")

    def test_the_command_that_trains_on_ids(self):
        for tokenizer, vocab in (([], 256), (["--tokenizer", "chars"], None),
                                 (["--tokenizer", GPT2], 1000)):
            told = self.ok("tokenize", *tokenizer, "--data", self.data, "--out", self.folder / "of.bin")
            command = told.split("to train  dspeed ")[1].split()
            done = self.ok(*command, *e2e.MODEL, "--steps", 1, "--save", self.folder / "of", "--overwrite")
            size = json.loads((self.folder / "of/config.json").read_text())["vocab_size"]
            self.assertEqual(size, vocab or len(set(self.data.read_text())), done)

    def test_files_of_ids(self):
        """The same ids, from the text and from every layout, give the same run."""
        self.train("text", *SHORT, "--tokenizer", GPT2)
        out = self.folder / "ids.bin"
        for threads in (1, 3):
            told = self.ok("tokenize", "--tokenizer", GPT2, "--data", self.data, "--out", out,
                           "--threads", threads)
            self.assertIn("bytes a token", told)
            blob = out.read_bytes()
            magic, version, count = struct.unpack("<3i", blob[:12])
            self.assertEqual((magic, version, len(blob)), (20240520, 1, 1024 + 2 * count))
        ids = blob[1024:]
        layouts = {"llmc.bin": blob, "nano.bin": ids, "mega.bin": ids}
        for name, content in layouts.items():
            (self.folder / name).write_bytes(content)
        (self.folder / "mega.idx").write_bytes(
            b"MMIDIDX\0\0" + struct.pack("<QBQQiqqq", 1, 8, 1, 2, count, 0, 0, 1))
        text = self.data
        for name in layouts:
            self.data, run = self.folder / name, "run_" + name
            self.train(run, *SHORT, "--tokenizer", GPT2)
            self.assertEqual(self.curve(run), self.curve("text"))
            self.assertEqual(self.weights(run), self.weights("text"))
        self.data = text
        self.ok("tokenize", "--tokenizer", GPT2, "--data", text, "--out", self.folder / "n.bin",
                "--layout", "nanogpt")
        self.assertEqual((self.folder / "n.bin").read_bytes(), ids)
        # A tokenizer that was made for earlier ids does not stay beside others.
        beside = self.folder / "c.bin.tokenizer"
        make = ["tokenize", "--data", text, "--out", self.folder / "c.bin", "--tokenizer"]
        for tokenizer, stays in (("chars", True), (beside, True), (GPT2, False)):
            self.ok(*make, tokenizer)
            self.assertEqual(beside.exists(), stays)
        refused = self.dspeed("train", "--data", out, "--vocab", 10, *e2e.MODEL)
        self.assert_refused(refused, out, "the vocabulary has 10")

    def test_documents(self):
        folder = self.folder / "many"
        (folder / "b").mkdir(parents=True)
        (folder / "b/2").write_text(e2e.text(seed=2))
        (folder / "a").write_text(e2e.text(seed=3))
        lines = self.folder / "many.jsonl"
        lines.write_text("".join(json.dumps({"body": e2e.text(seed=s)}) + "\n" for s in (3, 2)))
        a, b = self.folder / "a.bin", self.folder / "b.bin"
        self.ok("tokenize", "--tokenizer", GPT2, "--data", folder, "--out", a)
        self.ok("tokenize", "--tokenizer", GPT2, "--data", lines, "--field", "body", "--out", b)
        self.assertEqual(a.read_bytes(), b.read_bytes())
        self.data = lines
        self.train("run", *SHORT, "--field", "body")
        refused = self.dspeed("train", "--data", lines, *e2e.MODEL)
        self.assert_refused(refused, lines, "line 1", "has no \"text\"", "--field")

    def test_mixed(self):
        """Texts by weight: the same samples on any number of ranks, and after a resume."""
        lines = self.folder / "b=c.jsonl"
        lines.write_text(json.dumps({"text": "xyz " * 600}) + "\n")
        alone, mix = self.data, ["--data", f"{lines}=0.25", "--batch", 4, "--eval-every", 2]
        config = {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2}}}
        self.data = f"{alone}=0.75"
        done = self.train("run", *mix, "--steps", 4, config=config)
        for part in (f"{alone}: 6000 bytes", "75.0 %", f"{lines}: 2401 bytes", "25.0 %"):
            self.assertIn(part, done.stdout)
        last = self.log("run")[-1]
        self.assertAlmostEqual(last["val_loss"], 0.75 * last["val_losses"][0] +
                               0.25 * last["val_losses"][1], 9)
        self.train("part", *mix, "--steps", 2, config=config)
        self.train("part", *mix, "--steps", 4, "--resume", config=config)
        self.assertEqual(self.curve("part"), self.curve("run"))
        self.assertEqual(self.weights("part"), self.weights("run"))
        self.train("two", *mix, "--steps", 4, "--ranks", 2, config=config)
        for one, two in zip(self.log("run"), self.log("two")):
            self.assertAlmostEqual(one["loss"], two["loss"], 4)
        file = self.folder / "mix.json"
        file.write_text(json.dumps({"sources": [{"path": alone.name, "weight": 3},
                                                {"path": lines.name}]}))
        told = self.ok("train", "--mix", file, *e2e.MODEL, *mix[2:], "--steps", 4, "--config",
                       self.folder / "run.json", "--save", self.folder / "run/model", "--resume")
        self.assertIn(f"{last['val_loss']:.4f}", told)  # of the run that is there, at its end
        self.data = alone
        refused = self.dspeed("train", "--mix", file, "--data", alone)
        self.assert_refused(refused, "--mix", file)
        refused = self.dspeed("train", "--mix", file, "--format", "jsonl")
        self.assert_refused(refused, "--format jsonl", "--mix", file)
        refused = self.dspeed(*self.train_arguments("run", "--batch", 4, "--resume"))
        self.assert_refused(refused, "cannot resume", "[0.75,0.25]", "[1.0]")
        refused = self.dspeed("train", "--data", f"{alone}=0", *e2e.MODEL)
        self.assert_refused(refused, alone, "weight is 0")

    def test_epochs(self):
        """A text and conversations of several lengths, each sequence once an epoch: equal bits for every stage,
        after a resume, and where a sequence holds several that do not see each other."""
        chat, draw = self.folder / "chat.jsonl", random.Random(2)
        rows = [[{"role": role, "content": " ".join(draw.choices(("one", "two", "three"), k=draw.randint(1, 9)))}
                 for role in ("user", "assistant")] * draw.randint(1, 2) for _ in range(40)]
        chat.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
        tok, file = self.folder / "tok", self.folder / "mix.json"
        self.ok("tokenizer", "train", "--data", chat, "--format", "chat", "--vocab", 280, "--out", tok,
                "--special", "<|im_start|>", "--special", "<|im_end|>")
        file.write_text(json.dumps({"sources": [{"path": "chat.jsonl", "format": "chat"},
                                                {"path": self.data.name}]}))
        self.data.write_text(e2e.text()[:2000])

        def run(name, *arguments, stage=0):
            config = {"train_batch_size": 8, "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2}},
                      "zero_optimization": {"stage": stage}}
            (self.folder / "run.json").write_text(json.dumps(config))
            where = self.folder / name
            return self.ok("train", "--mix", file, "--tokenizer", tok, *e2e.MODEL, "--context", 40, "--dropout", 0.1,
                           "--ranks", 2, "--config", self.folder / "run.json", "--log", where / "log", "--save",
                           where / "model", "--eval-every", 5, *arguments)

        told = run("run", "--epochs", 1.5)
        sequences, steps = map(int, re.search(r"epochs    1.5 of (\d+) sequences: (\d+) steps", told).groups())
        self.assertEqual(steps, -(-sequences * 3 // 16))
        self.assertEqual(len(self.log("run")), steps)
        self.assertIn("of them of answers", told)
        for stage in (1, 2, 3):
            run("other", "--epochs", 1.5, "--overwrite", "--recompute", "--threads", 1, stage=stage)
            self.assertEqual(self.curve("other"), self.curve("run"), stage)
            self.assertEqual(self.weights("other"), self.weights("run"), stage)
        run("part", "--epochs", 0.5)
        run("part", "--epochs", 1.5, "--resume", stage=3)
        self.assertEqual(self.weights("part"), self.weights("run"))
        self.assertEqual([row["loss"] for row in self.log("part")], [row["loss"] for row in self.log("run")])
        train = ["train", "--mix", file, "--tokenizer", tok, *e2e.MODEL]
        again = [*train, "--context", 40, "--dropout", 0.1, "--config", self.folder / "run.json", "--ranks", 2,
                 "--save", self.folder / "part/model", "--resume", "--steps", 99]
        self.assert_refused(self.dspeed(*again), "cannot resume", 'by --epochs, this run by --steps')
        for flags, parts in ((["--epochs", 2, "--steps", 3], ("--epochs 2", "--steps 3")),
                             (["--epochs", 0], ("--epochs is 0",)), (["--epochs", "nan"], ("--epochs is nan",)),
                             (["--epochs", 1e7], ("--epochs is 1e+07", "1e+06"))):
            self.assert_refused(self.dspeed(*train, *flags), *parts)
        self.assert_refused(self.dspeed("train", "--data", f"{self.data}=2", "--data", self.data, *e2e.MODEL,
                                        "--epochs", 1), "weight 2", "weight 1", "--epochs")
        self.assertIn("It fits", self.ok("plan", *train[1:], "--epochs", 3))

    def test_conversations(self):
        chat = self.folder / "chat.jsonl"
        draw = random.Random(1)
        rows = [{"messages": [{"role": "user", "content": f"count {draw.randint(0, 9)}"},
                              {"role": "assistant", "content": "one two three"}]}] * 200
        asked = {"messages": rows[0]["messages"][:1]}
        chat.write_text("".join(json.dumps(row) + "\n" for row in [asked, *rows, asked]))
        self.data = chat
        done = self.train("run", "--steps", 20, "--lr", 0.01, "--format", "chat", "--tokenizer",
                          GOLDEN / "hf/tokenizers/qwen2")
        self.assertIn("validation loss", done.stdout)
        left_out = "; left out: 2 conversations without an answer\n"
        self.assertIn(left_out, done.stdout)
        measure = ["eval", "--model", self.folder / "run/model", "--data", chat, "--format", "chat"]
        self.assertIn(left_out, self.ok(*measure))
        self.assertEqual(json.loads(self.ok(*measure, "--json"))["unanswered"], 2)
        questions = self.folder / "questions.jsonl"
        questions.write_text(json.dumps(asked) + "\n")
        for command in (measure, ["train", "--format", "chat", *e2e.MODEL, "--tokenizer",
                                  GOLDEN / "hf/tokenizers/qwen2"]):
            refused = self.dspeed(*(questions if word is chat else word for word in command),
                                  *([] if command is measure else ["--data", questions]))
            self.assert_refused(refused, questions, "nothing to learn", "of 1 conversations")
        log = self.log("run")
        self.assertLess(log[-1]["loss"], log[0]["loss"] - 0.5)
        refused = self.dspeed("train", "--data", chat, "--format", "chat", *e2e.MODEL)
        self.assert_refused(refused, chat, "line 2", "<|im_start|>", "--special")

    def test_conversations_from_scratch(self):
        """A tokenizer of the conversations themselves, a model of them, and its answer."""
        chat, out = self.folder / "chat.jsonl", self.folder / "tok"
        row = {"messages": [{"role": "user", "content": "count"},
                            {"role": "assistant", "content": "one two three"}]}
        lengths = [1 + i % 9 for i in range(200)]
        answers = sum(lengths)
        chat.write_text("".join(json.dumps({"messages": row["messages"] * n}) + "\n" for n in lengths))
        learn = ["tokenizer", "train", "--data", chat, "--format", "chat", "--vocab", 300, "--out", out]
        marks = ["<|im_start|>", "<|im_end|>"]
        self.ok(*learn, *(word for mark in marks for word in ("--special", mark)))
        vocab = json.loads((out / "tokenizer.json").read_text())["model"]["vocab"]
        for word in ("user", "assistant", "one", "\u0120three"):
            self.assertIn(word, vocab)
        layout = (out / "chat_template.jinja").read_text()
        self.assertIn("'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n'", layout)
        self.data = chat
        self.train("run", "--steps", 60, "--lr", 0.01, "--format", "chat", "--tokenizer", out,
                   "--context", 128)
        self.assertEqual((self.folder / "run/model/chat_template.jinja").read_text(), layout)
        told = self.ok("generate", "--model", self.folder / "run/model", "--temperature", 0, "--prompt",
                       "<|im_start|>user\ncount<|im_end|>\n<|im_start|>assistant\n")
        self.assertTrue(told.endswith("assistant\none two three\n"), told)
        ends = json.loads((self.folder / "run/model/generation_config.json").read_text())["eos_token_id"]
        tokens = json.loads((out / "tokenizer.json").read_text())["added_tokens"]
        self.assertEqual(ends, [tokens[2]["id"], tokens[0]["id"]], tokens)
        # A question is laid out by --chat; --stop takes a special token, though no text shows it.
        ask = ["generate", "--model", self.folder / "run/model", "--temperature", 0]
        self.assertEqual(self.ok(*ask, "--chat", "--prompt", "count"), "one two three\n")
        told = self.dspeed(*ask, "--chat", "--prompt", "-", "--json", stdin="count\ncount\n").stdout
        self.assertEqual(len(told.splitlines()), 2)
        for line in told.splitlines():
            self.assertEqual(json.loads(line) | {"ids": 0, "prompt_ids": 0},
                             {"prompt": "count", "text": "one two three", "ids": 0, "prompt_ids": 0,
                              "ended_by": "end of text"})
        # Turns of one conversation stand before the next, a system's before them all.
        several = [*ask, "--chat", "--json", "--prompt", "count", "--prompt", "go on"]
        alone = [json.loads(line) for line in self.ok(*several).splitlines()]
        turns = [json.loads(line) for line in self.ok(*several, "--turns", "--system", "hi").splitlines()]
        system = json.loads(self.ok(*ask, "--chat", "--json", "--system", "hi", "--prompt", "count"))
        self.assertEqual(turns[0], system)
        self.assertEqual(turns[0]["prompt_ids"][-len(alone[0]["prompt_ids"]):], alone[0]["prompt_ids"])
        end, line = tokens[2]["id"], vocab["\u010a"]
        self.assertEqual(turns[1]["prompt_ids"], turns[0]["prompt_ids"] + turns[0]["ids"] +
                         ([] if turns[0]["ids"][-1] == end else [end]) + [line] + alone[1]["prompt_ids"])
        # What is too long loses whole turns, the oldest, and keeps the system's.
        long = self.dspeed(*ask, "--chat", "--json", "--turns", "--tokens", 6, *["--prompt", "count"] * 12,
                           "--system", "hi")
        self.assertEqual(long.returncode, 0, long.stderr)
        rows = [json.loads(row) for row in long.stdout.splitlines()]
        head = len(system["prompt_ids"]) - len(alone[0]["prompt_ids"])
        sizes = [len(row["prompt_ids"]) for row in rows]
        turn = sizes[1] - sizes[0]
        for row, size in zip(rows, sizes):
            self.assertEqual(row["prompt_ids"][:head], system["prompt_ids"][:head])
            self.assertEqual((size - sizes[0]) % turn, 0)
            self.assertLessEqual(size, 128 - 6)
            self.assertEqual(row["text"], rows[0]["text"])
        self.assertEqual(sizes[-1], sizes[-2])
        drops = [int(number) for number in re.findall("the (\\d+) oldest turns are dropped", long.stderr)]
        self.assertEqual(drops, list(range(2, 2 * len(drops) + 1, 2)), long.stderr)
        self.assertEqual(sizes[-1], sizes[0] + turn * (len(rows) - 1 - len(drops)))
        self.assert_refused(self.dspeed(*ask, "--prompt", "a", "--turns"), "--turns", "--chat")
        answer = json.loads(told.splitlines()[0])["ids"]
        # Of answers each token counts, and no other; a model that knows them is sure of it.
        measure = ["eval", "--model", self.folder / "run/model", "--data", chat, "--format", "chat"]
        told = json.loads(self.ok(*measure, "--json"))
        self.assertEqual((told["predicted"], told["bytes"]),
                         (answers * len(answer), answers * len("one two three")))
        self.assertLess(told["loss"], 0.1)
        self.assertIn(f"{told['predicted']} of them of answers", self.ok(*measure))
        config = self.folder / "run/model/generation_config.json"
        config.write_text(json.dumps({"eos_token_id": tokens[0]["id"]}))
        told = json.loads(self.ok(*ask, "--chat", "--prompt", "count", "--json"))
        self.assertEqual((told["text"], told["ended_by"]), ("one two three", "end of text"))
        told = json.loads(self.ok(*ask, "--json", "--stop", marks[1], "--prompt",
                                  "<|im_start|>user\ncount<|im_end|>\n<|im_start|>assistant\n"))
        self.assertEqual((told["text"], told["ended_by"]), ("one two three", "stop"))
        self.assert_refused(self.dspeed(*ask, "--prompt", "count", "--stop", f"{marks[1]}\n"), "--stop", marks[1])
        self.assert_refused(self.dspeed(*learn, "--overwrite", "--special", "a"), "special token 'a'")
        missing = self.dspeed("tokenizer", "train", "--data", self.folder / "none", "--vocab", 300, "--out", out,
                              "--overwrite")
        self.assert_refused(missing, "none", "No such file")

    def test_a_model_of_plain_text_learns_to_answer(self):
        """Its tokenizer is given the tokens of conversations, and the model rows for them."""
        tok, chat, base = self.folder / "tok", self.folder / "chat.jsonl", self.folder / "base/model"
        self.ok("tokenizer", "train", "--data", self.data, "--vocab", 290, "--out", tok)
        self.train("base", "--steps", 2, "--tokenizer", tok, "--context", 64)
        size = json.loads((self.folder / "base/model/config.json").read_text())["vocab_size"]
        self.train("padded", "--steps", 2, "--tokenizer", tok, "--vocab", size + 9)
        row = {"messages": [{"role": "user", "content": "count"},
                            {"role": "assistant", "content": "one two three"}]}
        chat.write_text((json.dumps(row) + "\n") * 100)
        self.data = chat
        tune = ["--model", base, "--format", "chat"]
        marks = ["<|im_start|>", "<|im_end|>"]
        special = [word for mark in marks for word in ("--special", mark)]
        self.assert_refused(self.dspeed(*self.train_arguments("x", *tune, model=[])), marks[0], "--special")
        weights = {}
        for stage in (0, 3):
            self.train(f"run-{stage}", *tune, *special, "--steps", 60, "--lr", 0.01, "--ranks", 2,
                       config={"train_batch_size": 8, "zero_optimization": {"stage": stage}}, model=[])
            weights[stage] = self.weights(f"run-{stage}")
        self.assertEqual(weights[0], weights[3])
        out = self.folder / "run-3/model"
        read = {name: json.loads((out / f"{name}.json").read_text())
                for name in ("config", "tokenizer", "generation_config")}
        tokens = json.loads((tok / "tokenizer.json").read_text())
        self.assertEqual(size, len(tokens["model"]["vocab"]) + len(tokens["added_tokens"]))
        self.assertEqual(read["config"]["vocab_size"], size + 2)
        self.assertEqual([token["id"] for token in read["tokenizer"]["added_tokens"][-2:]], [size, size + 1])
        self.assertEqual(read["generation_config"]["eos_token_id"][0], size + 1)
        self.assertIn("<|im_start|>", (out / "chat_template.jinja").read_text())
        ask = ["generate", "--model", out, "--temperature", 0, "--chat", "--prompt", "count"]
        self.assertEqual(self.ok(*ask), "one two three\n")
        # It goes on as it is, with the tokens that it has now, and is gone on from so.
        self.train("run-3", *tune, *special, "--steps", 62, "--lr", 0.01, "--ranks", 2, "--resume",
                   config={"train_batch_size": 8, "zero_optimization": {"stage": 3}}, model=[])
        self.assertEqual(self.log("run-3")[-1]["step"], 62)
        self.assertEqual(json.loads((out / "tokenizer.json").read_text()), read["tokenizer"])
        refused = self.dspeed(*self.train_arguments(
            "run-3", *tune, *special, "--special", "<|end|>", "--lr", 0.01, "--resume", model=[]))
        self.assert_refused(refused, "cannot resume", "vocabulary", size + 2, size + 3)
        # Adapters learn it as well: the tables that know the tokens are trained whole beside them.
        weights = {}
        for stage in (0, 3):
            done = self.train(f"lora-{stage}", *tune, *special, "--lora-rank", 8, "--lora-targets", "all-linear",
                              "--steps", 60, "--lr", 0.01, "--ranks", 2, model=[],
                              config={"train_batch_size": 8, "zero_optimization": {"stage": stage}})
            self.assertIn("whole the embedding and the head", done.stdout)
            weights[stage] = (self.folder / f"lora-{stage}/model/adapter_model.safetensors").read_bytes()
        self.assertEqual(weights[0], weights[3])
        adapters = self.folder / "lora-0/model"
        told = json.loads((adapters / "adapter_config.json").read_text())
        self.assertEqual(told["modules_to_save"], ["wte", "lm_head"])
        ask[2] = adapters
        self.assertEqual(self.ok(*ask), "one two three\n")
        ask[2] = self.folder / "lora-merged"
        self.ok("merge", "--model", adapters, "--out", ask[2])
        self.assertEqual(self.ok(*ask), "one two three\n")
        config = json.loads((ask[2] / "config.json").read_text())
        self.assertEqual((config["vocab_size"], config["tie_word_embeddings"]), (size + 2, True))
        self.train("lora-on", "--model", adapters, "--format", "chat", "--steps", 1, "--lr", 0, model=[])
        self.assertEqual((self.folder / "lora-on/model/adapter_model.safetensors").read_bytes(), weights[0])
        refused = self.dspeed(*self.train_arguments("x", "--model", adapters, "--format", "chat", "--special", "<x>",
                                                    model=[]))
        self.assert_refused(refused, "--special <x>", adapters, "--lora-rank")
        # Gone on from it needs nothing.
        for more in ([], ["--lora-rank", 2, *special]):
            self.train("again", "--model", out, "--format", "chat", "--steps", 1, *more, model=[])
            self.assertEqual((self.folder / "again/model/tokenizer.json").read_bytes(),
                             (out / "tokenizer.json").read_bytes())
            shutil.rmtree(self.folder / "again")
        # Rows to spare are taken first; more can be asked for.
        for model, asked, rows in ((self.folder / "padded/model", [], size + 9),
                                   (base, ["--vocab", size + 6], size + 6)):
            self.train("again", "--model", model, "--format", "chat", *special, *asked, "--steps", 1, model=[])
            config = json.loads((self.folder / "again/model/config.json").read_text())
            ends = [size + 1, tokens["added_tokens"][0]["id"]]
            self.assertEqual((config["vocab_size"], config["eos_token_id"]), (rows, ends))
            if not asked:  # ids to spare hold another token as well, but it is another run
                refused = self.dspeed(*self.train_arguments(
                    "again", "--model", model, "--format", "chat", *special, "--special", "<x>", "--steps", 2,
                    "--resume", model=[]))
                self.assert_refused(refused, "cannot resume", "tokenizer")
            shutil.rmtree(self.folder / "again")
        for flags, parts in ((["--special", "a"], ("--special", "'a' is a word")),
                             (["--vocab", 4], ("--vocab", "4")),
                             (["--vocab", size], ("--vocab", size, size + 2))):
            refused = self.dspeed(*self.train_arguments("x", *tune, *special, *flags, model=[]))
            self.assert_refused(refused, *parts)
        refused = self.dspeed("train", "--data", chat, "--special", marks[0], *e2e.MODEL)
        self.assert_refused(refused, "--special", "bytes", "tokenizer.json")

    def test_adapters_learn_to_answer(self):
        """What they learned beside the model below goes with them: their tokenizer, and where an answer ends."""
        chat, base = self.folder / "chat.jsonl", self.folder / "base/model"
        qwen2 = GOLDEN / "hf/tokenizers/qwen2"
        self.train("base", "--steps", 1, "--tokenizer", qwen2)
        self.train("small", "--steps", 1)
        row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "\U0001f389" * 8}]}
        chat.write_text((json.dumps(row) + "\n") * 60)
        self.data = chat
        for name in (*(path.name for path in qwen2.iterdir()), "generation_config.json"):
            (base / name).unlink(missing_ok=True)
        # It names no end of a text, as some of a hub do.
        (base / "generation_config.json").write_text('{"temperature": 0.6}')
        lora = ["--format", "chat", "--lora-rank", 8, "--lora-targets", "all-linear"]
        self.train("run", "--model", base, *lora, "--tokenizer", qwen2, "--steps", 1, model=[])
        # Gone on from by itself, with the tokenizer that lies beside the adapters.
        self.train("on", "--model", self.folder / "run/model", "--format", "chat", "--steps", 2, model=[])
        end = json.loads((self.folder / "run/model/generation_config.json").read_text())["eos_token_id"][0]
        out = self.folder / "merged"
        self.ok("merge", "--model", self.folder / "on/model", "--out", out)
        for folder in (out, self.folder / "on/model"):
            told = json.loads((folder / "generation_config.json").read_text())
            self.assertEqual((told["eos_token_id"][0], told["temperature"]), (end, 0.6))
            self.assertEqual((folder / "tokenizer.json").read_bytes(), (qwen2 / "tokenizer.json").read_bytes())
        refused = self.dspeed("merge", "--model", self.folder / "on/model", "--base", self.folder / "small/model",
                              "--out", self.folder / "none")
        self.assert_refused(refused, self.folder / "small/model", "256")
        self.assertFalse((self.folder / "none/config.json").exists())

    def test_an_answer_cut_within_a_character(self):
        chat = self.folder / "chat.jsonl"
        row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "\U0001f389" * 8}]}
        chat.write_text((json.dumps(row, ensure_ascii=False) + "\n") * 60)
        self.data = chat
        self.train("run", "--format", "chat", "--tokenizer", GOLDEN / "hf/tokenizers/qwen2", "--steps", 80, "--lr",
                   0.01, "--context", 64)
        ask = ["generate", "--model", self.folder / "run/model", "--chat", "--turns", "--json", "--temperature", 0]
        cut = 0
        for tokens in range(1, 6):
            rows = self.ok(*ask, "--tokens", tokens, "--prompt", "hi", "--prompt", "hi").splitlines()
            self.assertEqual(len(rows), 2)
            cut += "\ufffd" in json.loads(rows[0])["text"]
        self.assertGreater(cut, 0)
        self.assert_refused(self.dspeed(*ask, "--prompt", "hi", "--system", os.fsdecode(b"\xff")), "--system", "UTF-8")
        self.assert_refused(self.dspeed(*ask, "--prompt", "hi", "--tokens", 2**31), "--tokens", 2**31)

    def test_conversations_give_the_gradient_of_their_loss(self):
        """The loss falls by lr * |gradient|^2 in a small step, if both are of the same mean: that over the
        answers of all ranks and micro-batches, a small part of the tokens."""
        question, answer = "count from one to three, and tell what comes behind it", "one two three"
        row = {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        self.data = self.folder / "chat.jsonl"
        self.data.write_text((json.dumps(row) + "\n") * 2)  # one for validation
        tokens = sum(len(turn["role"]) + len(turn["content"]) + 4 for turn in row["messages"])
        marks = ["<|im_start|>", "<|im_end|>"]
        self.ok("tokenizer", "train", "--data", self.data, "--format", "chat", "--vocab", 259, "--out",
                self.folder / "tok", *(word for mark in marks for word in ("--special", mark)))
        config = {"optimizer": {"type": "SGD", "params": {"lr": 0.01}}, "train_batch_size": 4,
                  "train_micro_batch_size_per_gpu": 1, "gradient_clipping": 0}
        chat = ["--format", "chat", "--tokenizer", self.folder / "tok", "--ranks", 2]
        self.train("run", *chat, "--steps", 3, "--context", tokens - 1, config=config)
        for before, after in list(zip(self.log("run"), self.log("run")[1:]))[1:]:
            fall = before["lr"] * before["grad_norm"] ** 2
            self.assertAlmostEqual((before["loss"] - after["loss"]) / fall, 1, delta=0.03)
        # Where it is longer than a sequence, those without an answer are left out.
        row["messages"][0]["content"] = "so " * 1400
        self.data.write_text((json.dumps(row) + "\n") * 2)
        done = self.train("some", *chat, "--epochs", 20, "--context", 6, config=config)
        sequences = -(-(len(answer) + 1) // 6) + 1  # at most, for it may begin within one
        told = re.search(r"epochs    20 of (\d+) sequences: (\d+) steps", done.stdout)
        self.assertIn(int(told[1]), (sequences - 1, sequences))
        self.assertEqual(int(told[2]), 20 * int(told[1]) // 4)
        self.assertEqual(len(self.log("some")), int(told[2]))
        self.assertGreater(min(row["loss"] for row in self.log("some")), 1)
        self.assertIn(f"{2 * (len(answer) + 1)} of them of answers", done.stdout)
        self.assertIn("2 conversations longer than --context 6", done.stdout)

    def test_learned_tokenizer(self):
        out = self.folder / "tok"
        told = self.ok("tokenizer", "train", "--data", self.data, "--vocab", 300, "--out", out)
        self.assertIn("tokens    300", told)
        first = (out / "tokenizer.json").read_bytes()
        made = json.loads(first)
        self.assertEqual(len(made["model"]["vocab"]) + len(made["added_tokens"]), 300)
        self.assertEqual(len(made["model"]["merges"]), 300 - 257)
        again = ["tokenizer", "train", "--data", self.data, "--vocab", 300, "--out", out]
        self.assert_refused(self.dspeed(*again), "--out", out, "tokenizer.json", "--overwrite")
        # What the other tokenizer had beside it would be read with this one.
        stale = [out / "special_tokens_map.json", out / "chat_template.jinja", out / "added_tokens.json",
                 out / "tokenizer_config.json.tmp.12.3"]
        for file in stale:
            file.write_text("{}")
        self.ok(*again, "--overwrite")
        self.assertEqual([file.exists() for file in stale], [False] * 4)
        stale[1].mkdir()
        self.assert_refused(self.dspeed(*again, "--overwrite"), "--out", stale[1].name, "is a folder")
        stale[1].rmdir()
        self.assertEqual((out / "tokenizer.json").read_bytes(), first)
        self.train("run", *SHORT, "--tokenizer", out)
        self.assertTrue(self.generate("run").startswith("abc"))
        into = self.folder / "copy"
        shutil.copytree(self.folder / "run/model", into)
        shutil.rmtree(into / "resume")
        other = ["tokenizer", "train", "--data", self.data, "--vocab", 280, "--out", into]
        self.assert_refused(self.dspeed(*other), "--out", into, "config.json")

    def test_refusals(self):
        out = self.folder / "out.bin"

        def refuse(*arguments, parts):
            self.assert_refused(self.dspeed("tokenize", "--out", out, *arguments), *parts)
            self.assertFalse(out.exists())
            self.assertEqual(list(self.folder.glob("*.tmp.*")), [])

        bad = self.folder / "bad.txt"
        bad.write_bytes(b"good\xffbad")
        empty = self.folder / "empty.txt"
        empty.write_text("")
        other = self.folder / "tokenizer.json"
        tokenizer = json.loads((GPT2 / "tokenizer.json").read_text())
        tokenizer["model"]["type"] = "Unigram"
        other.write_text(json.dumps(tokenizer))
        gpt2 = ["--tokenizer", GPT2]
        refuse(*gpt2, "--data", bad, parts=[bad, "byte 4", "0xff"])
        refuse(*gpt2, "--data", empty, parts=[empty, "empty"])
        refuse(*gpt2, "--data", self.folder / "none", parts=["none", "No such file"])
        refuse("--tokenizer", other, "--data", self.data, parts=[other, "Unigram", "BPE"])
        refuse("--tokenizer", self.folder / "nothing", "--data", self.data,
               parts=["nothing", "No such file"])
        refuse(*gpt2, "--data", self.data, "--layout", "x", parts=["--layout", "llmc"])
        refuse(*gpt2, "--data", self.data, "--format", "x", parts=["--format", "jsonl"])
        refuse(*gpt2, "--data", self.folder / "x.bin", parts=["x.bin", "ids already"])
        refuse("--data", self.data, "--threads", -1, parts=["--threads", -1])
        learn = self.dspeed("tokenizer", "train", "--data", self.data, "--vocab", 5, "--out", out)
        self.assert_refused(learn, 5, 257)
        learn = self.dspeed("tokenizer", "train", "--data", empty, "--vocab", 300, "--out", out)
        self.assert_refused(learn, f"{empty}: is empty")
        self.assert_refused(self.dspeed("tokenizer", "train", "--data", self.data, "--vocab", 300,
                                        "--split", "x", "--out", out), "--split", "x")


if __name__ == "__main__":
    unittest.main()
