#!/usr/bin/env python3
"""Our folders in transformers, and our tokenizers beside tokenizers: compare_hf.py BUILD

Prints a row a family (the largest difference of a log-probability of a token, and of the loss), a row a
layout of conversations, a row a kind of adapters of PEFT, and a row a tokenizer (strings that were encoded to
the same ids and back), and fails where one differs.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
import numpy as np
import peft
import tokenizers
import torch
import transformers

from compare_hf_adapters import compare_adapters

FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
LIMIT = 1e-4  # of a log-probability in fp32
SIZES = ["--layers", "3", "--heads", "4", "--width", "64", "--context", "96"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/golden/hf"


def run(*command, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def ours(dspeed, model, ids, folder):
    """The log-probabilities of ids[1:], and the loss, of a model whose tokens are bytes."""
    text, array = folder / "sequence", folder / "sequence.npy"
    text.write_bytes(bytes(ids))
    told = json.loads(run(dspeed, "eval", "--model", model, "--data", text, "--per-token", array,
                          "--dtype", "fp32", "--json"))
    return np.load(array), told["loss"]


def theirs(model, ids):
    with torch.no_grad():
        out = model(torch.tensor([ids]), labels=torch.tensor([ids]))
    each = torch.log_softmax(out.logits[0].double(), -1)[:-1]
    return each.gather(1, torch.tensor(ids[1:]).unsqueeze(1))[:, 0].numpy(), float(out.loss)


def compare_models(dspeed, folder, draw):
    bad = 0
    corpus = (GOLDEN / "corpus.txt").read_bytes()
    print(f"{'family':<10}{'dtype':<7}{'sequences':>10}{'tokens':>8}{'log-probability':>17}"
          f"{'loss':>11}   limit {LIMIT:g}")
    for family in FAMILIES:
        for dtype in ("fp32", "bf16"):
            saved = folder / f"{family}-{dtype}"
            run(dspeed, "train", "--data", GOLDEN / "corpus.txt", "--family", family, *SIZES,
                "--steps", 60, "--batch", 8, "--lr", 0.003, "--dtype", dtype, "--save", saved)
            model = transformers.AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32)
            model.eval()
            if model.config.model_type != family:
                sys.exit(f"{saved}: read as {model.config.model_type}")
            far = far_loss = 0.0
            tokens = 0
            for number in range(12):
                length = (96, 2, 17)[number] if number < 3 else draw.randint(2, 96)
                at = draw.randrange(len(corpus) - length)
                # Text, and what no text has.
                ids = list(corpus[at:at + length] if number % 3 < 2 else draw.randbytes(length))
                got, loss = ours(dspeed, saved, ids, folder)
                want, want_loss = theirs(model, ids)
                far = max(far, float(np.abs(got - want).max()))
                far_loss = max(far_loss, abs(loss - want_loss))
                tokens += length - 1
            verdict = "" if max(far, far_loss) <= LIMIT else "   DIFFERS"
            bad += verdict != ""
            print(f"{family:<10}{dtype:<7}{12:>10}{tokens:>8}{far:>17.2e}{far_loss:>11.2e}{verdict}",
                  flush=True)
    return bad


LAYOUTS = {"ChatML": ("<|im_start|>", "<|im_end|>"),
           "Llama 3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
           "added": ("<|im_start|>", "<|im_end|>"),    # to the tokenizer and the model of a plain text
           "adapted": ("<|im_start|>", "<|im_end|>")}  # the same with adapters


def compare_chat(dspeed, folder):
    """A tokenizer and a model of conversations, learned from nothing or from a model of plain text: the layout
    by transformers' own run of the template, the prompt's ids, and the loss of the answers: of each
    conversation alone, of all of one file, and of an epoch of training on them."""
    bad = 0
    print(f"\n{'layout':<10}{'prompts':>8}{'answers':>9}{'tokens':>8}{'loss':>11}{'of a file':>11}"
          f"{'an epoch':>11}   limit {LIMIT:g}")
    before = ("", "\n\n\n", "\u3000", "\n  ")  # what a template trims, or a word that reaches over its border
    talks = [[("user", f"{before[(a + b) % 4]}add {a} and {b}"), ("assistant", f"{a} and {b} are {a + b}")] +
             [("user", " and twice that?\n"), ("assistant", f" {2 * (a + b)} ")] * (b % 2)
             for a in range(1, 9) for b in range(1, 9)]
    rows = [{"messages": [{"role": r, "content": c} for r, c in talk]} for talk in talks]
    data = folder / "chat.jsonl"
    for layout, special in LAYOUTS.items():
        words, saved = folder / f"tokens-{layout}", folder / f"chat-{layout}"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        tokens = [word for token in special for word in ("--special", token)]
        if layout in ("added", "adapted"):
            run(dspeed, "train", "--data", GOLDEN / "corpus.txt", "--tokenizer", GOLDEN / "tokenizers/llama2",
                *SIZES, "--steps", 20, "--save", words)
            learner = ["--model", words, *tokens]
            if layout == "adapted":
                learner += ["--lora-rank", 8, "--lora-targets", "all-linear"]
        else:
            run(dspeed, "tokenizer", "train", "--data", data, "--format", "chat", "--vocab", 300, "--out", words,
                *tokens)
            learner = ["--tokenizer", words, *SIZES]
        run(dspeed, "train", "--data", data, "--format", "chat", *learner, "--steps", 60, "--batch", 8, "--lr",
            0.003, "--save", saved)
        reader = peft.AutoPeftModelForCausalLM if layout == "adapted" else transformers.AutoModelForCausalLM
        model = reader.from_pretrained(saved, dtype=torch.float32).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
        def write(messages, **more):
            return tokenizer.apply_chat_template(messages, tokenize=False, **more)
        def encode(text):
            return tokenizer.encode(text, add_special_tokens=False)
        differ, far, prompts, answers, each_of, sizes = "", 0.0, 0, 0, [], []
        some = rows[::7]
        for row in some:
            messages = row["messages"]
            told = json.loads(run(dspeed, "generate", "--model", saved, "--chat", "--prompt",
                                  messages[0]["content"], "--tokens", 1, "--json"))
            prompts += 1
            want = encode(write(messages[:1], add_generation_prompt=True))
            if told["prompt_ids"] != want:
                differ = f"{told} is not {want}"
            # Prompt, answer, prompt, ...: each encoded by itself, as the ids of an answer come behind a prompt.
            ids, learned, text, done = [], [], write(messages), 0
            for turn, message in enumerate(messages):
                if message["role"] == "assistant":
                    begin = len(write(messages[:turn], add_generation_prompt=True))
                    end = text.index(special[-1], begin) + len(special[-1])
                    ids += encode(text[done:begin])
                    answer_ids = encode(text[begin:end])
                    if layout in ("added", "adapted"):  # whose tokenizer puts a space before a text
                        head, whole = encode(text[done:begin]), encode(text[done:end])
                        if whole[:len(head)] != head:
                            differ = f"{head} does not begin {whole}"
                        answer_ids = whole[len(head):]
                    learned += range(len(ids), len(ids) + len(answer_ids))
                    ids, done = ids + answer_ids, end
                    answers += 1
            each = theirs(model, ids)[0][np.array(learned) - 1]
            data.write_text(json.dumps(row) + "\n")
            told = json.loads(run(dspeed, "eval", "--model", saved, "--data", data, "--format", "chat",
                                  "--dtype", "fp32", "--json"))
            if told["predicted"] != len(learned):
                differ = f"{told['predicted']} are learned of {row}, theirs: {len(learned)}"
            far = max(far, abs(told["loss"] + float(each.mean())))
            each_of.append(each)
            sizes.append(len(ids) + len(encode(text[done:])))
        # Packed into sequences with others, a conversation is what it is alone.
        data.write_text("".join(json.dumps(row) + "\n" for row in some))
        told = json.loads(run(dspeed, "eval", "--model", saved, "--data", data, "--format", "chat",
                              "--dtype", "fp32", "--json"))
        if told["tokens"] != sum(sizes):
            differ = f"{told['tokens']} tokens, theirs: {sum(sizes)}"
        file_far = abs(told["loss"] + float(np.concatenate(each_of).mean()))
        begins = np.cumsum([0, *sizes])
        tenth = sum(sizes) - sum(sizes) // 10  # for validation, from the nearest conversation on
        split = min(range(1, len(some)), key=lambda i: abs(begins[i] - tenth))
        learn = ["train", "--model", saved, "--data", data, "--format", "chat", "--epochs", 1, "--lr", 0,
                 "--overwrite", "--log", folder / f"log-{layout}"]
        sequences = int(re.search(r"epochs    1 of (\d+) sequences", run(dspeed, *learn, "--batch", 1))[1])
        run(dspeed, *learn, "--batch", sequences)
        log = json.loads((folder / f"log-{layout}/log.jsonl").read_text())
        epoch_far = max(abs(log[key] + float(np.concatenate(part).mean()))
                        for key, part in (("loss", each_of[:split]), ("val_loss", each_of[split:])))
        verdict = "" if max(far, file_far, epoch_far) <= LIMIT and not differ else f"   DIFFERS {differ}"
        bad += verdict != ""
        print(f"{layout:<10}{prompts:>8}{answers:>9}{sum(map(len, each_of)):>8}{far:>11.2e}{file_far:>11.2e}"
              f"{epoch_far:>11.2e}{verdict}", flush=True)
    return bad


class Strings:
    """Texts to break a tokenizer with. Of code points only those that this Python's Unicode has, or
    that can never be assigned: what others are is another matter in every release."""
    WORDS = ("don't I'LL we'\u017fe 'S ''s it\u2019s cafe\u0301 na\u00efve \u00c5ngstr\u00f6m \u1e9b\u0323 \ufb01 "
             "3.14 1234567 \u0661\u0662\u0663 \u00b2\u00bd\u2167 \u4e16\u754c \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab \u0939\u093f\u0928\u094d\u0926\u0940 "
             "\u05e9\u05dc\u05d5\u05dd \u0627\u0644\u0639 \u200b \ufeff \u2581 \u2581\u2581 <0x0A> <0xFF> <s> </s> <unk> <| |> <|end "
             "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f \ufffd \ufffe \U0010ffff x=y; //* ## __init__ "
             "https://a.b/c?d=e&f#g \\n \u2028 \u3000 \xa0 \x85 \x1c \0 \x7f").split(" ")
    SPACES = (" ", " ", " ", "  ", "   ", "\n", "\n\n", " \n", "\n ", "\r\n", "\t", "\t\t ", "\xa0",
              "\u3000", "\u2003", "\u2028", "\x0b", "\x0c", "")
    MARKS = "\u0300\u0301\u0323\u0327\u0338\u0345\u05b0\u0651\u0653\u093c\u0f71\u1dce\u302a\u3099\U0001d165"

    def __init__(self, seed, special):
        self.draw = random.Random(seed)
        self.special = special
        self.corpus = (GOLDEN / "corpus.txt").read_text()
        self.points = [chr(c) for c in range(0x110000)
                       if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
        self.letters = [c for c in self.points if unicodedata.category(c)[0] in "LMN"]

    def piece(self):
        draw = self.draw
        kind = draw.randrange(12)
        if kind < 3:
            return draw.choice(self.WORDS)
        if kind == 3:
            return "".join(draw.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", k=draw.randint(1, 9)))
        if kind == 4:
            return "".join(draw.choices("0123456789", k=draw.randint(1, 11)))
        if kind == 5:
            return "".join(draw.choices("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", k=draw.randint(1, 6)))
        if kind == 6:
            at = draw.randrange(len(self.corpus) - 40)
            return self.corpus[at:at + draw.randint(1, 40)]
        if kind == 7:
            return "".join(draw.choices(self.points, k=draw.randint(1, 5)))
        if kind == 8:
            return "".join(draw.choices(self.letters, k=draw.randint(1, 5)))
        if kind == 9:
            base = draw.choice("aeoA\u03b1\u0438\u0915\u304b\u1100")
            return base + "".join(draw.choices(self.MARKS, k=draw.randint(1, 4)))
        if kind == 10 and self.special:
            token = draw.choice(self.special)
            cut = draw.randint(0, len(token))
            return draw.choice((token, token, token * 2, token[:cut], token[cut:]))
        return draw.choice(self.WORDS + list("a \n")) * draw.choice((1, 2, 3, 7, 40))

    def one(self):
        count = self.draw.choice((0, 1, 1, 2, 2, 3, 4, 6))
        return "".join(self.piece() + self.draw.choice(self.SPACES) for _ in range(count))


def write_rows(path, rows):
    """As the tables of tests/golden are: a row a line."""
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"cases":[\n' + ",\n".join(map(json.dumps, rows)) + "\n]}\n")


def answer(tokenizer, number, text, nfc):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    row = {"id": number, "ids": ids}
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    if decoded != text:
        row["decoded"] = decoded
    without = tokenizer.decode(ids, skip_special_tokens=True)
    if without != decoded:
        row["decoded_without_special"] = without
    whole = tokenizer.encode(text, add_special_tokens=True).ids
    if whole != ids:
        row["ids_with_special"] = whole
    if nfc is not None and nfc.normalize_str(text) != unicodedata.normalize("NFC", text):
        row["nfc_of_older_unicode"] = True
    return row


# Those of tests/golden, and what other models make of their vocabularies: what is changed in the file, and
# whether added tokens leave white space alone, as those of most models do.
TOKENIZERS = {name: (name, {}, False) for name in ("gpt2", "llama3", "qwen2", "llama2")} | {
    "gpt2 itself": ("gpt2", {}, True),
    "smollm": ("gpt2", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}}, True),
    "qwen2 itself": ("qwen2", {}, True)
} | {
    f"mistral {scheme}": ("llama2", {"normalizer": None, "pre_tokenizer": {
        "type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": False}}, False)
    for scheme in ("first", "always")
}


def compare_long_text(build, folder, path, tokenizer, make):
    """One text of 2 MiB, which dspeed encodes in parts, several at a time."""
    text = ""
    while len(text) < 1 << 21:
        at = make.draw.randrange(len(make.corpus) - 400)
        text += make.corpus[at:at + make.draw.randint(1, 400)] + make.draw.choice(
            ("\n", "\n\n", "\n\n\n", " \n", "\n ", "\t\n\n", "\n7", "\n\n7", " ", "\u3000\n"))
    (folder / "long.txt").write_text(text, encoding="utf-8", newline="")
    run(build / "bin/dspeed", "tokenize", "--tokenizer", path, "--data", folder / "long.txt", "--layout", "nanogpt",
        "--out", folder / "long.bin")
    got = np.fromfile(folder / "long.bin", dtype=np.uint16)
    want = np.array(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.uint16)
    if np.array_equal(got, want):
        return ""
    at = int(np.argmax(got[:min(len(got), len(want))] != want[:min(len(got), len(want))]))
    return f"a long text: {len(got)} ids and {len(want)}, at {at} {got[at:at + 8]} and {want[at:at + 8]}"


def compare_tokenizers(build, folder, strings, seed):
    """Through the tests of the golden tokenizers, on a folder like theirs."""
    bad = 0
    table = folder / "hf/tokenizers"
    print(f"\n{'tokenizer':<16}{'strings':>10}{'ids':>12}{'older NFC':>11}")
    for title, (name, changes, plain) in TOKENIZERS.items():
        shutil.copytree(GOLDEN / "tokenizers" / name, table / name, dirs_exist_ok=True)
        path = table / name / "tokenizer.json"
        parts = json.loads(path.read_text()) | changes
        for token in parts["added_tokens"] if plain else ():
            token.update(lstrip=False, rstrip=False)
        path.write_text(json.dumps(parts))
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
        uses_nfc = "NFC" in json.dumps(parts["normalizer"])
        nfc = tokenizers.normalizers.NFC() if uses_nfc else None
        make = Strings(f"{seed} {title}", [entry["content"] for entry in parts["added_tokens"]])
        rows, ids, skipped, differ = 0, 0, 0, ""
        while rows < strings and not differ:  # in files that a test reads at once
            count = min(20000, strings - rows)
            texts = [make.one() for _ in range(count)]
            answers = [answer(tokenizer, i, text, nfc) for i, text in enumerate(texts)]
            write_rows(table / "strings.json", [{"id": i, "text": t} for i, t in enumerate(texts)])
            write_rows(table / name / "ids.json", answers)
            done = subprocess.run(
                [build / "tests/unit_token_test",
                 f"--gtest_filter=*Golden.EveryString/{name}:*Golden.PartsOfAText/{name}"],
                env={**os.environ, "DS_GOLDEN_DIR": str(folder)}, capture_output=True, text=True,
                check=False)
            if done.returncode != 0 or "[  PASSED  ] 2 tests" not in done.stdout:
                differ = done.stdout[:4000] + done.stderr[:1000]
            rows += count
            ids += sum(len(row["ids"]) for row in answers)
            skipped += sum("nfc_of_older_unicode" in row for row in answers)
        differ = differ or compare_long_text(build, folder, path, tokenizer, make)
        print(f"{title:<16}{rows:>10}{ids:>12}{skipped:>11}{'   DIFFERS' if differ else ''}", flush=True)
        if differ:
            print(differ)
            bad += 1
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--strings", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    build = told.build.resolve()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, "
          f"torch {torch.__version__}, Unicode {unicodedata.unidata_version}")
    with tempfile.TemporaryDirectory(prefix="compare_hf_") as name:
        folder = pathlib.Path(name)
        bad = compare_models(build / "bin/dspeed", folder, random.Random(told.seed))
        bad += compare_chat(build / "bin/dspeed", folder)
        bad += compare_adapters(build / "bin/dspeed", GOLDEN, folder, run, LIMIT)
        bad += compare_tokenizers(build, folder, told.strings, told.seed)
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
