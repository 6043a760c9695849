// Dtypes. deepspeed/runtime/precision_config.py, runtime/torch_autocast.py.
#include "engine/config_keys.h"

namespace ds {
namespace {

using enum ConfigType;

constexpr ConfigKey kFp16[] = {
    {"enabled", kBool, "false", "", "train in fp16", kHonoured},
    {"auto_cast", kBool, "false", "", "cast the model's inputs", Idle("inputs are the caller's")},
    {"loss_scale", kNumber, "0", "[0,)", "fixed factor of the loss; 0: found while training",
     kHonoured},
    {"initial_scale_power", kInt, "16", "", "the factor starts as 2 to this power", kHonoured},
    {"loss_scale_window", kInt, "1000", "[0,)", "clean steps before the factor doubles", kHonoured},
    {"hysteresis", kInt, "2", "[0,)", "overflows before the factor shrinks", kHonoured},
    {"consecutive_hysteresis", kBool, "false", "", "a clean step restores the hysteresis",
     kHonoured},
    {"min_loss_scale", kNumber, "1", "[0,)", "least factor", kHonoured},
    {"fp16_master_weights_and_grads", kBool, "false", "", "master weights in fp16",
     Refused("master weights are kept in fp32; sharding them (zero_optimization.stage 1 and up) "
             "makes them smaller per rank")},
};

constexpr ConfigKey kBf16[] = {
    {"enabled", kBool, "false", "", "train in bfloat16", kHonoured},
    {"check_grad_overflow", kBool, "true", "",
     "skip a step whose gradient is not finite, at every stage", kHonoured},
    {"immediate_grad_update", kBool, "false", "",
     "add a gradient to its buffer as soon as it is there",
     Refused("gradients are handed over by the caller, and reduced unit by unit")},
    {"bf16_master_weights_and_grads", kBool, "false", "", "master weights in bfloat16",
     Refused("master weights are kept in fp32; sharding them (zero_optimization.stage 1 and up) "
             "makes them smaller per rank")},
    {"bf16_optimizer_states", kBool, "false", "", "moments in bfloat16",
     Refused("moments are kept in fp32; sharding them (zero_optimization.stage 1 and up) makes "
             "them smaller per rank")},
};

constexpr ConfigKey kAmp[] = {
    {"enabled", kBool, "false", "", "hand the model to Apex",
     Refused("DeepSpeed dropped it after 0.19.6; use bf16")},
    {"opt_level", kText, "null", "", "Apex's level"},
};

constexpr ConfigKey kAutocast[] = {
    {"enabled", kBool, "false", "", "let torch choose the dtype of each operation",
     Refused("the weights have one dtype; use bf16")},
    {"dtype", kText, "null", "", "the lower dtype"},
    {"lower_precision_safe_modules", kList, "null", "", "modules that are cast"},
};

constexpr ConfigKey kDataTypes[] = {
    {"grad_accum_dtype", kChoice, "null", "fp32|fp16|bf16",
     "dtype in which gradients add up; null: the training dtype",
     Refused("gradients are kept in the training dtype")},
    {"param_dtype", kChoice, "null", "fp32|fp16|bf16", "dtype of the weights",
     Refused("it follows from bf16.enabled and fp16.enabled")},
    {"buffer_dtype", kChoice, "null", "fp32|fp16|bf16", "dtype of the model's buffers",
     Idle("buffers are the caller's")},
    {"keep_in_fp32_modules", kList, "null", "", "modules that stay in fp32",
     Refused("the weights have one dtype", "[[]]")},
};

constexpr ConfigSection kSections[] = {
    {.path = "fp16", .keys = kFp16, .toggle = kEnabled, .off = kFalse, .lax = true},
    {.path = "bf16", .keys = kBf16, .toggle = kEnabled, .off = kFalse, .lax = true},
    {.path = "amp", .keys = kAmp, .toggle = kEnabled, .off = kFalse, .open = true},
    {.path = "torch_autocast", .keys = kAutocast, .toggle = kEnabled, .off = kFalse},
    {.path = "data_types", .keys = kDataTypes},
};

}  // namespace

std::span<const ConfigSection> PrecisionSections() { return kSections; }

}  // namespace ds
