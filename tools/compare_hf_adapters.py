"""Adapters that PEFT wrote, read, merged and gone on from, and what is saved of them read by PEFT again: the part of
compare_hf.py that needs peft."""
import shutil

import numpy as np
import peft
import torch
import transformers

FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
GROWN = 5  # tokens that a resized model has more


def kinds(table):
    """What people ask PEFT for, by name: arguments of a LoraConfig. `table`: the name of the embedding."""
    linear = {"target_modules": "all-linear"}
    attention = r".*(q_proj|v_proj|c_attn)"
    return {"all-linear": linear, "by a pattern": {"target_modules": attention},
            "by layers": {"layers_to_transform": [1], "target_modules": ["c_attn", "c_fc", "q_proj", "up_proj"]},
            "own sizes": {"rank_pattern": {attention: 5}, "alpha_pattern": {"q_proj": 7, "c_attn": 9}, **linear},
            "rsLoRA": {"use_rslora": True, **linear}, "both whole": {"modules_to_save": [table, "lm_head"], **linear},
            "embedding whole": {"modules_to_save": [table], **linear},
            "head whole": {"modules_to_save": ["lm_head"], **linear}, "made larger": linear,
            "larger, whole": {"modules_to_save": [table, "lm_head"], **linear}}


def compare_adapters(dspeed, golden, folder, run, limit):
    """A row a kind: over all families, tied and not, the largest difference of a log-probability as it is read, as it
    is merged (by us and by transformers), and as PEFT reads what was saved after a step that changed nothing."""
    bad = 0
    print(f"\n{'adapters':<16}{'models':>7}{'read':>10}{'merged':>10}{'there':>10}{'gone on':>10}   limit {limit:g}")
    draw, worst = np.random.default_rng(1), {}

    def scores(model, ids):
        with torch.no_grad():
            each = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)[:-1]
        return each.gather(1, torch.tensor(ids[1:]).unsqueeze(1))[:, 0].numpy()

    def ours(model, ids, *base):
        np.array(ids, dtype=np.uint16).tofile(folder / "ids.bin")
        run(dspeed, "eval", "--model", model, *base, "--data", folder / "ids.bin", "--format", "tokens", "--tokenizer",
            "bytes", "--dtype", "fp32", "--per-token", folder / "ids.npy")
        return np.load(folder / "ids.npy")

    for family in FAMILIES:
        for tied in (True, False):
            torch.manual_seed(1)
            model = transformers.AutoModelForCausalLM.from_pretrained(golden / family, dtype=torch.float32)
            weights, config = model.state_dict(), model.config
            if not tied:
                weights["lm_head.weight"] = weights["lm_head.weight"] + 0.1 * torch.randn_like(weights["lm_head.weight"])
            config.tie_word_embeddings = tied
            below = type(model)(config)
            below.load_state_dict(weights, strict=False)
            below.tie_weights()
            base = folder / f"below-{family}-{tied}"
            below.save_pretrained(base)
            for kind, asked in kinds("wte" if family == "gpt2" else "embed_tokens").items():
                grown = GROWN if "larger" in kind else 0

                def fresh():
                    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
                    if grown:
                        model.resize_token_embeddings(config.vocab_size + grown)
                    return model

                adapted = peft.get_peft_model(fresh(), peft.LoraConfig(r=3, lora_alpha=5, task_type="CAUSAL_LM", **asked))
                with torch.no_grad():
                    for _, weight in adapted.named_parameters():
                        if weight.requires_grad:
                            weight.add_(0.05 * torch.randn_like(weight))
                where = folder / "adapters"
                shutil.rmtree(where, ignore_errors=True)
                adapted.save_pretrained(where)
                ids = [int(i) for i in draw.integers(0, config.vocab_size + grown, 40)]
                want, merged, on = scores(adapted.eval(), ids), folder / "merged", folder / "on"
                for out in (merged, on):
                    shutil.rmtree(out, ignore_errors=True)
                run(dspeed, "merge", "--model", where, "--base", base, "--out", merged)
                there = transformers.AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
                np.array(draw.integers(0, config.vocab_size + grown, 400), dtype=np.uint16).tofile(folder / "t.bin")
                run(dspeed, "train", "--model", where, "--base", base, "--data", folder / "t.bin", "--format", "tokens",
                    "--steps", 1, "--lr", 0, "--context", 16, "--batch", 2, "--ranks", 2, "--save", on)
                again = peft.PeftModel.from_pretrained(fresh(), on).eval()
                far = [np.abs(got - want).max() for got in (
                    ours(where, ids, "--base", base), ours(merged, ids), scores(there, ids), scores(again, ids))]
                worst.setdefault(kind, []).append(far)
    for kind, each in worst.items():
        far = np.array(each).max(axis=0)
        verdict = "" if far.max() <= limit else "   DIFFERS"
        bad += verdict != ""
        print(f"{kind:<16}{len(each):>7}" + "".join(f"{one:>10.1e}" for one in far) + verdict, flush=True)
    return bad
