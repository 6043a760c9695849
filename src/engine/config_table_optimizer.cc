// Optimizers and schedules. deepspeed/runtime/config.py, ops/*, runtime/lr_schedules.py.
#include "engine/config_keys.h"

namespace ds {
namespace {

using enum ConfigType;

constexpr std::string_view kOptimizers =
    "Adam|AdamW|Lamb|Lion|Adagrad|SGD|Muon|OneBitAdam|OneBitLamb|ZeroOneAdam|MuAdam|MuAdamW|MuSGD";
constexpr ConfigKey kOptimizer[] = {
    {"type", kWord, "", kOptimizers, "name of the update rule",
     Refused("this release has AdamW, Adam, Adagrad, SGD, Lion, Lamb and Muon",
             R"(["AdamW", "Adam", "Adagrad", "SGD", "Lion", "Lamb", "Muon"])")},
    {"params", kSection, "null", "", "parameters of the update rule", kHonoured},
    {"legacy_fusion", kBool, "false", "", "the older fused fp16 wrapper",
     Refused("every update is fused")},
};

constexpr ConfigKey kLr = {"lr", kNumber, "0.001", "[0,)", "learning rate", kHonoured};
constexpr ConfigKey kBetas = {"betas",  kPair, "[0.9, 0.999]", "[0,1)", "decay of the two moments",
                              kHonoured};
constexpr ConfigKey kEps = {"eps", kNumber, "1e-8", "[0,)", "added to the denominator", kHonoured};
constexpr ConfigKey kDecay = {
    "weight_decay", kNumber, "0.0", "[0,)", "weights shrink by lr times this, per step", kHonoured};
constexpr ConfigKey kBias = {
    "bias_correction", kBool, "true", "", "make up for moments that start at zero", kHonoured};
constexpr ConfigKey kMaxNorm = {"max_grad_norm",
                                kNumber,
                                "null",
                                "[0,)",
                                "clipping inside the optimizer",
                                Refused("use gradient_clipping at the top level")};
constexpr ConfigKey kTorchAdam = {"torch_adam",
                                  kBool,
                                  "false",
                                  "",
                                  "torch.optim.Adam instead of the fused one",
                                  Idle("the arithmetic is the same; there is one Adam here")};
constexpr ConfigKey kWideStates = {"fp32_optimizer_states",
                                   kBool,
                                   "true",
                                   "",
                                   "moments in fp32",
                                   Refused("moments are kept in fp32")};
// What Adagrad and SGD take as torch.optim's, which DeepSpeed hands all parameters on to.
constexpr ConfigKey kMaximize = {
    "maximize", kBool, "false", "", "climb instead of descend", Refused("negate the loss")};
constexpr ConfigKey kForeach = {
    "foreach", kBool, "null", "", "all parameters in one call", Idle("every update is fused")};
constexpr ConfigKey kFused = {
    "fused", kBool, "null", "", "all arithmetic in one kernel", Idle("every update is fused")};
constexpr ConfigKey kDifferentiable = {"differentiable",
                                       kBool,
                                       "false",
                                       "",
                                       "gradients of the update itself",
                                       Refused("there is no automatic differentiation here")};
constexpr ConfigKey kAdam[] = {
    kLr,
    kBetas,
    kEps,
    kDecay,
    kBias,
    {"adam_w_mode", kBool, "true", "",
     "decay the weights, not the gradient; type AdamW always does", kHonoured},
    {"amsgrad", kBool, "false", "", "keep the largest second moment",
     Refused("DeepSpeed's Adam has no AMSGrad either")},
    kTorchAdam,
    kWideStates,
    kMaxNorm,
};

constexpr ConfigKey kLamb[] = {
    kLr,
    kBetas,
    kEps,
    kDecay,
    kBias,
    kMaxNorm,
    {"eps_inside_sqrt", kBool, "false", "", "add eps under the root", kHonoured},
    {"max_coeff", kNumber, "10.0", "[0,)", "largest trust ratio", kHonoured},
    {"min_coeff", kNumber, "0.01", "[0,)", "least trust ratio", kHonoured},
    {"amsgrad", kBool, "false", "", "keep the largest second moment",
     Refused("DeepSpeed's LAMB has no AMSGrad either")},
};
constexpr ConfigKey kLion[] = {kLr, kBetas, kDecay, kMaxNorm};
constexpr ConfigKey kAdagrad[] = {
    {"lr", kNumber, "0.01", "[0,)", "learning rate", kHonoured},
    {"eps", kNumber, "1e-10", "[0,)", "added to the denominator", kHonoured},
    {"weight_decay", kNumber, "0.0", "[0,)", "added to the gradient", kHonoured},
    {"lr_decay", kNumber, "0.0", "[0,)", "the rate falls as 1 / (1 + steps * this)", kHonoured},
    {"initial_accumulator_value", kNumber, "0", "[0,)", "where the sum of squares begins",
     Refused("it begins at 0")},
    {"amsgrad", kBool, "false", "", "a key of Adam", Refused("Adagrad has one moment")},
    kWideStates,
    kMaximize,
    kForeach,
    kFused,
    kDifferentiable,
    kMaxNorm,
};
constexpr ConfigKey kSgd[] = {
    kLr,
    kDecay,
    kMaxNorm,
    {"momentum", kNumber, "0.0", "[0,)", "decay of the velocity", kHonoured},
    {"dampening", kNumber, "0.0", "", "part of the gradient that the velocity leaves out",
     kHonoured},
    {"nesterov", kBool, "false", "", "look ahead along the velocity", kHonoured},
    kMaximize,
    kForeach,
    kFused,
    kDifferentiable,
};
constexpr ConfigKey kMuon[] = {
    kDecay,
    kMaxNorm,
    {"lr", kNumber, "null", "[0,)", "learning rate of both halves", kHonoured},
    {"muon_lr", kNumber, "null", "[0,)", "learning rate of matrices; null: lr, or 0.02", kHonoured},
    {"adam_lr", kNumber, "null", "[0,)", "learning rate of the rest; null: lr, or 0.0003",
     kHonoured},
    {"momentum", kNumber, "0.95", "[0,1)", "decay of the momentum of matrices", kHonoured},
    {"betas", kPair, "[0.9, 0.95]", "[0,1)", "decay of the moments of the rest", kHonoured},
    {"eps", kNumber, "1e-10", "[0,)", "added to the denominator of the rest", kHonoured},
    {"ns_method", kChoice, "\"gram\"", "gram|standard", "form of the Newton-Schulz iteration",
     kHonoured},
    {"adam_w_mode", kBool, "true", "", "decay the weights of the rest, not the gradient",
     kHonoured},
    {"per_head_muon", kBool, "false", "", "orthogonalise the rows of each attention head alone",
     Refused("a matrix is orthogonalised as one")},
    kTorchAdam,
    kWideStates,
};
constexpr ConfigKey kOneBit[] = {
    kLr,
    kBetas,
    kEps,
    kDecay,
    kBias,
    kMaxNorm,
    {"freeze_step", kInt, "100000", "[0,)", "steps before gradients are compressed"},
    {"cuda_aware", kBool, "false", "", "MPI may read GPU memory"},
    {"comm_backend_name", kChoice, "\"nccl\"", "nccl|mpi|hccl|compressed", "who carries the bits"},
    {"amsgrad", kBool, "false", "", "keep the largest second moment"},
    {"eps_inside_sqrt", kBool, "false", "", "add eps under the root"},
    {"exp_avg_mask", kAny, "null", "", "elements whose moment stays zero"},
    {"max_coeff", kNumber, "10.0", "", "largest trust ratio (OneBitLamb)"},
    {"min_coeff", kNumber, "0.01", "", "least trust ratio (OneBitLamb)"},
    {"coeff_beta", kNumber, "0.9", "", "decay of the trust ratio (OneBitLamb)"},
    {"factor_max", kNumber, "4.0", "", "largest factor of the frozen ratio (OneBitLamb)"},
    {"factor_min", kNumber, "0.5", "", "least factor of the frozen ratio (OneBitLamb)"},
    {"factor_threshold", kNumber, "0.1", "", "largest change of the factor (OneBitLamb)"},
    {"var_freeze_step", kInt, "100000", "[0,)", "steps before the variance stays (ZeroOneAdam)"},
    {"var_update_scaler", kInt, "16", "[1,)", "interval of variance updates (ZeroOneAdam)"},
    {"local_step_scaler", kInt, "32678", "[1,)", "interval that doubles local steps (ZeroOneAdam)"},
    {"local_step_clipper", kInt, "16", "[1,)", "most local steps (ZeroOneAdam)"},
};

constexpr ConfigKey kScheduler[] = {
    {"type", kChoice, "", "WarmupLR|WarmupDecayLR|WarmupCosineLR|LRRangeTest|OneCycle",
     "name of the schedule", kHonoured},
    {"params", kSection, "null", "", "parameters of the schedule", kHonoured},
};

constexpr ConfigKey kWarmupSteps = {
    "warmup_num_steps", kInt, "1000", "[1,)", "steps from the least to the full rate", kHonoured};
constexpr ConfigKey kWarmupType = {"warmup_type",          kChoice,  "\"log\"", "log|linear",
                                   "shape of the warm-up", kHonoured};
constexpr ConfigKey kTotalSteps = {
    "total_num_steps", kInt, "", "[1,)", "steps of the whole training", kHonoured};
constexpr ConfigKey kMinLr = {"warmup_min_lr",          kNumber,  "0.0", "[0,)",
                              "rate of the first step", kHonoured};
constexpr ConfigKey kLastIteration = {
    "last_batch_iteration",
    kInt,
    "-1",
    "[-1,)",
    "where the schedule begins",
    Refused("a resume restores the schedule; ds_config.json describes a run from its start")};
constexpr ConfigKey kWarmup[] = {
    kWarmupSteps,
    kWarmupType,
    kMinLr,
    kLastIteration,
    {"warmup_max_lr", kNumber, "null", "[0,)",
     "rate after the warm-up; null: the optimizer's, of each group or half its own", kHonoured},
};
constexpr ConfigKey kWarmupDecay[] = {
    kWarmupSteps,
    kWarmupType,
    kTotalSteps,
    kMinLr,
    kLastIteration,
    {"warmup_max_lr", kNumber, "0.001", "[0,)",
     "rate after the warm-up; \"auto\" or null: the optimizer's, as with WarmupLR",
     kHonouredOrNull},
};
constexpr ConfigKey kWarmupCosine[] = {
    kWarmupSteps,
    kWarmupType,
    kTotalSteps,
    kLastIteration,
    {"warmup_min_ratio", kNumber, "0.0", "[0,)", "first rate, as a part of the full one",
     kHonoured},
    {"cos_min_ratio", kNumber, "0.0001", "[0,)", "last rate, as a part of the full one", kHonoured},
};
constexpr ConfigKey kRangeTest[] = {
    kLastIteration,
    {"lr_range_test_min_lr", kAny, "0.001", "", "rate of the first step; one for all groups",
     kHonoured},
    {"lr_range_test_step_size", kInt, "2000", "[1,)", "steps between changes", kHonoured},
    {"lr_range_test_step_rate", kNumber, "1.0", "[0,)", "growth per change", kHonoured},
    {"lr_range_test_staircase", kBool, "false", "", "change in stairs", kHonoured},
};
constexpr ConfigKey kOneCycle[] = {
    kLastIteration,
    {"cycle_min_lr", kAny, "", "", "least rate; one for all groups", kHonoured},
    {"cycle_max_lr", kAny, "", "", "largest rate; one for all groups", kHonoured},
    {"decay_lr_rate", kNumber, "0.0", "[0,)", "decay of the rate after the cycle", kHonoured},
    {"cycle_first_step_size", kInt, "2000", "[1,)", "steps of the rise", kHonoured},
    {"cycle_second_step_size", kInt, "null", "[0,)", "steps of the fall; null: as the rise",
     kHonoured},
    {"cycle_first_stair_count", kInt, "0", "[0,)", "stairs of the rise", kHonoured},
    {"cycle_second_stair_count", kInt, "null", "[0,)", "stairs of the fall; null: as the rise",
     kHonoured},
    {"decay_step_size", kInt, "0", "[0,)", "steps between decays after the cycle", kHonoured},
    {"cycle_momentum", kBool, "true", "", "momentum moves against the rate", kHonoured},
    {"cycle_min_mom", kNumber, "0.8", "[0,1)", "least momentum", kHonoured},
    {"cycle_max_mom", kNumber, "0.9", "[0,1)", "largest momentum", kHonoured},
    {"decay_mom_rate", kNumber, "0.0", "", "decay of the momentum after the cycle", kHonoured},
};

constexpr std::string_view kRule = "optimizer.params", kRate = "scheduler.params";
constexpr ConfigSection kSections[] = {
    {.path = "optimizer", .keys = kOptimizer},
    {.path = kRule, .keys = kAdam, .variant = "AdamW|Adam"},
    {.path = kRule, .keys = kLamb, .variant = "Lamb"},
    {.path = kRule, .keys = kLion, .variant = "Lion"},
    {.path = kRule, .keys = kAdagrad, .variant = "Adagrad"},
    {.path = kRule, .keys = kSgd, .variant = "SGD"},
    {.path = kRule, .keys = kMuon, .variant = "Muon"},
    {.path = kRule, .keys = kOneBit, .variant = "OneBitAdam|OneBitLamb|ZeroOneAdam"},
    {.path = "scheduler", .keys = kScheduler},
    {.path = kRate, .keys = kWarmup, .variant = "WarmupLR"},
    {.path = kRate, .keys = kWarmupDecay, .variant = "WarmupDecayLR"},
    {.path = kRate, .keys = kWarmupCosine, .variant = "WarmupCosineLR"},
    {.path = kRate, .keys = kRangeTest, .variant = "LRRangeTest"},
    {.path = kRate, .keys = kOneCycle, .variant = "OneCycle"},
};

}  // namespace

std::span<const ConfigSection> OptimizerSections() { return kSections; }

}  // namespace ds
