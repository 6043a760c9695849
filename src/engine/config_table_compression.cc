// compression_training of DeepSpeed 0.19.6. deepspeed/compression/{constants,config}.py.
#include "engine/config_keys.h"

namespace ds {
namespace {

using enum ConfigType;

constexpr ConfigUse kNone =
    Refused("DeepSpeed dropped it after 0.19.6; weights are trained and saved as they are");
constexpr ConfigKey kOn = {"enabled", kBool, "false", "", "use this technique", kNone};
constexpr ConfigKey kOffset = {"schedule_offset", kInt, "1000", "[0,)", "step at which it begins"};
constexpr ConfigKey kMethod = {"method", kText, "\"l1\"", "", "how importance is measured"};

constexpr ConfigKey kTraining[] = {
    {"enabled", kBool, "false", "", "no key of DeepSpeed's: every technique has its own", kNone},
    {"weight_quantization", kSection, "null", "", "fewer bits for weights", kHonoured},
    {"activation_quantization", kSection, "null", "", "fewer bits for activations", kHonoured},
    {"sparse_pruning", kSection, "null", "", "zeros among the weights", kHonoured},
    {"row_pruning", kSection, "null", "", "rows of zeros", kHonoured},
    {"head_pruning", kSection, "null", "", "heads of zeros", kHonoured},
    {"channel_pruning", kSection, "null", "", "channels of zeros", kHonoured},
    {"layer_reduction", kSection, "null", "", "fewer layers", kHonoured},
};
constexpr ConfigKey kTechnique[] = {
    {"shared_parameters", kSection, "null", "", "settings of all groups", kHonoured},
    {"different_groups", kMap, "null", "", "groups of modules, by name", kHonoured},
};

constexpr ConfigKey kWeights[] = {
    kOn,
    {"quantizer_kernel", kBool, "false", "", "quantise by a kernel"},
    {"schedule_offset", kInt, "0", "[0,)", "step at which it begins"},
    {"quantize_groups", kInt, "1", "[1,)", "groups of a weight"},
    {"quantize_verbose", kBool, "false", "", "log it"},
    {"quantization_type", kChoice, "\"symmetric\"", "symmetric|asymmetric", "where zero lies"},
    {"quantize_weight_in_forward", kBool, "false", "", "at every forward pass"},
    {"rounding", kChoice, "\"nearest\"", "nearest|stochastic", "how it rounds"},
    {"fp16_mixed_quantize", kMap, "null", "", "a mixture of both weights"},
};
constexpr ConfigKey kActivations[] = {
    kOn,
    kOffset,
    {"quantization_type", kChoice, "\"symmetric\"", "symmetric|asymmetric", "where zero lies"},
    {"range_calibration", kChoice, "\"dynamic\"", "dynamic|static", "how the range is found"},
};
constexpr ConfigKey kSparse[] = {
    kOn,
    kOffset,
    kMethod,
    {"block_pattern", kText, "\"4x1\"", "", "block that is zero as one"},
    {"dense_ratio", kNumber, "0.1", "[0,1]", "part that stays"},
    {"schedule_offset_stride", kInt, "1", "[1,)", "steps between changes"},
    {"schedule_offset_end", kInt, "null", "[0,)", "step at which it ends"},
    {"excluded_modules", kList, "[]", "", "modules that stay as they are"},
};
constexpr ConfigKey kPruning[] = {kOn, kOffset, kMethod};
constexpr ConfigKey kHeads[] = {
    kOn,
    kOffset,
    kMethod,
    {"num_heads", kInt, "null", "[1,)", "heads of a layer"},
};
constexpr ConfigKey kLayers[] = {
    kOn,
    {"keep_number_layer", kInt, "null", "[0,)", "layers that stay"},
    {"module_name_prefix", kText, "null", "", "name of the layers"},
    {"teacher_layer", kList, "[]", "", "layers they begin as"},
    {"other_module_name", kList, "[]", "", "other modules that are copied"},
};

constexpr ConfigKey kGroup[] = {
    {"params", kSection, "null", "", "settings of the group", kHonoured},
    {"modules", kAny, "[\"*\"]", "", "names of its modules"},
    {"related_modules", kAny, "null", "", "modules that follow it"},
};
constexpr ConfigKey kWeightBits[] = {
    {"start_bits", kInt, "null", "[1,)", "bits at the start"},
    {"target_bits", kInt, "null", "[1,)", "bits at the end"},
    {"quantization_period", kInt, "1", "[0,)", "steps between changes"},
};
constexpr ConfigKey kBits[] = {{"bits", kInt, "null", "[1,)", "bits of a value"}};
constexpr ConfigKey kRatio[] = {{"dense_ratio", kNumber, "null", "[0,1]", "part that stays"}};

constexpr ConfigSection kSections[] = {
    {.path = "compression_training", .keys = kTraining},
    {.path = "compression_training.layer_reduction",
     .keys = kLayers,
     .toggle = kEnabled,
     .off = kFalse},
    {.path = "compression_training.weight_quantization", .keys = kTechnique},
    {.path = "compression_training.weight_quantization.shared_parameters",
     .keys = kWeights,
     .toggle = kEnabled,
     .off = kFalse},
    {.path = "compression_training.weight_quantization.different_groups.*", .keys = kGroup},
    {.path = "compression_training.weight_quantization.different_groups.*.params",
     .keys = kWeightBits},
    {.path = "compression_training.activation_quantization", .keys = kTechnique},
    {.path = "compression_training.activation_quantization.shared_parameters",
     .keys = kActivations,
     .toggle = kEnabled,
     .off = kFalse},
    {.path = "compression_training.activation_quantization.different_groups.*", .keys = kGroup},
    {.path = "compression_training.activation_quantization.different_groups.*.params",
     .keys = kBits},
    {.path = "compression_training.sparse_pruning", .keys = kTechnique},
    {.path = "compression_training.sparse_pruning.shared_parameters",
     .keys = kSparse,
     .toggle = kEnabled,
     .off = kFalse},
    {.path = "compression_training.sparse_pruning.different_groups.*", .keys = kGroup},
    {.path = "compression_training.sparse_pruning.different_groups.*.params", .keys = kRatio},
    {.path = "compression_training.row_pruning", .keys = kTechnique},
    {.path = "compression_training.row_pruning.shared_parameters",
     .keys = kPruning,
     .toggle = kEnabled,
     .off = kFalse},
    {.path = "compression_training.row_pruning.different_groups.*", .keys = kGroup},
    {.path = "compression_training.row_pruning.different_groups.*.params", .keys = kRatio},
    {.path = "compression_training.head_pruning", .keys = kTechnique},
    {.path = "compression_training.head_pruning.shared_parameters",
     .keys = kHeads,
     .toggle = kEnabled,
     .off = kFalse},
    {.path = "compression_training.head_pruning.different_groups.*", .keys = kGroup},
    {.path = "compression_training.head_pruning.different_groups.*.params", .keys = kRatio},
    {.path = "compression_training.channel_pruning", .keys = kTechnique},
    {.path = "compression_training.channel_pruning.shared_parameters",
     .keys = kPruning,
     .toggle = kEnabled,
     .off = kFalse},
    {.path = "compression_training.channel_pruning.different_groups.*", .keys = kGroup},
    {.path = "compression_training.channel_pruning.different_groups.*.params", .keys = kRatio},
};

}  // namespace

std::span<const ConfigSection> CompressionSections() { return kSections; }

}  // namespace ds
