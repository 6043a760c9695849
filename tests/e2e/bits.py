#!/usr/bin/env python3
"""The same data and seed give the same bits, whatever the stage, recomputation, threads or overlap."""
import os
import sys

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402


def config(stage, dtype, accumulation, overlap=False):
    return {
        "train_batch_size": 8,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": 0.5,
        "bf16": {"enabled": dtype == "bf16"},
        "fp16": {"enabled": dtype == "fp16", "initial_scale_power": 12},
        "zero_optimization": {"stage": stage, "overlap_comm": overlap},
    }


class Bits(e2e.DspeedTest):
    def compare(self, world, dtype, accumulation):
        """One curve of a world, after comparing every way of placing the state."""
        variants = [(stage, stage == 3, [[], ["--recompute"]][stage % 2], 1 + stage // 2)
                    for stage in range(4)]
        variants += [(3, False, ["--recompute"], 2), (2, True, [], 1), (0, False, [], 2)]
        first = None
        for stage, overlap, flags, threads in variants:
            name = f"{dtype}-{world}-{accumulation}-{stage}-{overlap}-{len(flags)}-{threads}"
            self.train(name, "--ranks", world, "--steps", 3, "--seed", 7, "--threads", threads,
                       *flags, config=config(stage, dtype, accumulation, overlap))
            got = (self.curve(name), self.weights(name))
            if first is None:
                first = got
            self.assertEqual(got[0], first[0], name)
            self.assertEqual(got[1], first[1], f"{name}: model.safetensors differs")
        self.assertEqual(len(first[0]), 3)
        return first[0]

    def check(self, dtype, tolerance):
        import json
        for accumulation in (1, 2):
            curves = [self.compare(world, dtype, accumulation) for world in (1, 2, 4)]
            rows = [[json.loads(line)["loss"] for line in curve] for curve in curves]
            for other in rows[1:]:
                for a, b in zip(rows[0], other):
                    self.assertLess(abs(a - b), tolerance)

    def test_fp32(self):
        self.check("fp32", 1e-4)

    def test_bf16(self):
        self.check("bf16", 3e-2)

    def test_fp16(self):
        self.check("fp16", 1e-2)

    def test_another_seed_is_another_run(self):
        self.train("a", "--steps", 2, "--seed", 1)
        self.train("b", "--steps", 2, "--seed", 2)
        self.assertNotEqual(self.curve("a"), self.curve("b"))


if __name__ == "__main__":
    e2e.unittest.main()
