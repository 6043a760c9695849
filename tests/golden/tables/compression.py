"""Quantizers, activation ranges and pruning."""
import itertools

import torch

from .frame import attempt, is_error, table


def quantizer_cases(ctx, u):
    tensors = {"v24": ctx.normal(24), "m4x12": ctx.normal(4, 12), "m6x8": ctx.normal(6, 8, scale=0.02),
               "ties": torch.tensor([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]), "zeros": torch.zeros(8),
               "positive": ctx.normal(16).abs() + 0.5, "constant": torch.full((8,), 0.75)}
    for name, x in tensors.items():
        yield {"id": f"tensor-{name}", "tensor": name, "shape": list(x.shape), "values": x}
    for (name, x), groups in itertools.product(tensors.items(), (1, 2, 4)):
        for cls, bits in itertools.product((u.SymQuantizer, u.AsymQuantizer), ctx.pick((8, 4, 3, 16), (8, 5, 2))):
            yield {"id": f"{cls.__name__}-{bits}-{groups}-{name}", "kind": cls.__name__, "tensor": name, "bits": bits,
                   "groups": groups, "out": cls.apply(x, bits, None, None, groups)}
        for cls in (u.TernaryQuantizer, u.BinaryQuantizer):
            yield {"id": f"{cls.__name__}-{groups}-{name}", "kind": cls.__name__, "tensor": name, "groups": groups,
                   "out": cls.apply(x, 0, None, None, groups)}
    for (name, x), cls in itertools.product(tensors.items(), (u.SymQuantizer, u.AsymQuantizer)):
        lo, hi = torch.tensor(ctx.pick(-1.25, -0.8)), torch.tensor(ctx.pick(2.0, 1.5))
        yield {"id": f"static-{cls.__name__}-{name}", "kind": cls.__name__, "tensor": name, "bits": 8, "groups": 1,
               "min": lo, "max": hi, "out": cls.apply(x, 8, lo, hi, 1)}


def activation_range_cases(ctx, basic):
    for mode in ("symmetric", "asymmetric"):
        act = basic.QuantAct(quant_mode=mode)
        act.train()
        batches = [ctx.normal(6, scale=s) for s in (1.0, 2.0, 0.5, 3.0)]
        outs, ranges = [], []
        for x in batches:
            outs.append(act(x, 8))
            ranges.append(act.x_min_max.clone())
        yield {"id": f"range-{mode}", "kind": "activation_range", "mode": mode, "momentum": 0.95, "bits": 8,
               "batches": batches, "min_max": ranges, "out": outs}


def pruning_cases(ctx, u, basic):
    for rows, cols in ctx.pick([(6, 8), (5, 7)], [(4, 10), (7, 3)]):
        w = ctx.normal(rows, cols)
        for ratio in (0.0, 0.1, 0.3, 0.5, 0.75, 1.0):
            yield {"id": f"topk-{rows}x{cols}-{ratio}", "kind": "topk_binarizer", "shape": [rows, cols], "scores": w,
                   "ratio": ratio, "mask": u.TopKBinarizer.apply(w, ratio, False)}
            for what in ("sparse", "row"):
                layer = basic.LinearLayer_Compress(cols, rows)
                layer.weight.data.copy_(w)
                getattr(layer, f"enable_{what}_pruning")(ratio, "l1")
                case = {"id": f"{what}-l1-{rows}x{cols}-{ratio}", "kind": f"{what}_l1", "shape": [rows, cols], "weight": w,
                        "ratio": ratio, "mask": layer.get_mask(what)}
                getattr(layer, "fix_sparse_pruning_helper" if what == "sparse" else "fix_row_col_pruning_helper")()
                yield {**case, "weight_after": layer.weight.data}
    for heads, ratio in itertools.product((2, 4), (0.25, 0.5)):
        layer = basic.LinearLayer_Compress(8, 5)
        w, scores = ctx.normal(5, 8), ctx.normal(1, heads)
        layer.weight.data.copy_(w)
        layer.enable_head_pruning(ratio, "topk", heads)
        layer.head_pruning_scores.data.copy_(scores)
        mask = layer.get_mask("head")
        case = {"id": f"head-{heads}-{ratio}", "kind": "head_topk", "shape": [5, 8], "weight": w, "heads": heads,
                "ratio": ratio, "scores": scores, "mask": mask}
        layer.fix_head_pruning_helper()
        yield {**case, "weight_after": layer.weight.data}
    for ratio in (0.25, 0.5, 0.7):
        layer = basic.Conv2dLayer_Compress(3, 6, 2)
        w = ctx.normal(6, 3, 2, 2)
        layer.weight.data.copy_(w)
        case = {"id": f"channel-{ratio}", "kind": "channel_l1", "shape": [6, 3, 2, 2], "weight": w, "ratio": ratio}
        got = attempt(layer.enable_channel_pruning, ratio, "l1")
        if is_error(got):  # the norm over three axes is refused by the torch releases of today
            yield {**case, **got}
            continue
        case["mask"] = layer.get_mask("channel")
        layer.fix_channel_pruning_helper()
        yield {**case, "weight_after": layer.weight.data}


@table("compression", "legacy")
def compression(ctx):
    from deepspeed.compression import basic_layer, utils
    yield from quantizer_cases(ctx, utils)
    yield from activation_range_cases(ctx, basic_layer)
    yield from pruning_cases(ctx, utils, basic_layer)
