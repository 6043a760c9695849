// data_efficiency. deepspeed/runtime/data_pipeline/{config,constants}.py.
#include "engine/config_keys.h"

namespace ds {
namespace {

using enum ConfigType;

constexpr ConfigKey kEfficiency[] = {
    {"enabled", kBool, "false", "", "switch of all below",
     Refused("the caller chooses the samples and feeds them; dspeed train draws windows of the "
             "text")},
    {"seed", kInt, "1234", "", "of the choice of samples"},
    {"data_sampling", kSection, "null", "", "which samples, and when", kHonoured},
    {"data_routing", kSection, "null", "", "which tokens, and where", kHonoured},
};
constexpr ConfigKey kSampling[] = {
    {"enabled", kBool, "false", "", "choose the samples"},
    {"num_epochs", kInt, "1000", "[1,)", "passes over the data"},
    {"num_workers", kInt, "0", "[0,)", "loading processes"},
    {"pin_memory", kBool, "false", "", "in locked pages"},
    {"curriculum_learning", kSection, "null", "", "easy samples first", kHonoured},
    {"dynamic_batching", kSection, "null", "", "batches of equal tokens", kHonoured},
};
constexpr ConfigKey kCurriculum[] = {
    {"enabled", kBool, "false", "", "easy samples first"},
    {"data_cluster_path", kText, "null", "", "folder of the clusters"},
    {"curriculum_metrics", kMap, "{}", "", "measures of difficulty, by name", kHonoured},
};
constexpr ConfigKey kMetric[] = {
    {"index_to_sample_path", kText, "null", "", "file"},
    {"index_to_metric_path", kText, "null", "", "file"},
    {"difficulty_type", kChoice, "null", "value|percentile", "unit of the difficulty"},
    {"clustering_type", kChoice, "null", "schedule_based|single_cluster", "when it clusters"},
    {"min_difficulty", kNumber, "null", "", "where it begins"},
    {"max_difficulty", kNumber, "null", "", "where it ends"},
    {"schedule_type", kChoice, "null", "fixed_discrete|fixed_linear|fixed_root|custom", "how"},
    {"schedule_config", kSection, "null", "", "numbers of the schedule", kHonoured},
};
constexpr ConfigKey kSchedule[] = {
    {"total_curriculum_step", kInt, "null", "[1,)", "steps until the end"},
    {"difficulty_step", kInt, "null", "[1,)", "difficulty is a multiple of this"},
    {"root_degree", kNumber, "null", "", "degree of the root"},
    {"difficulty", kList, "null", "", "discrete difficulties"},
    {"max_step", kList, "null", "", "steps at which they change"},
};
constexpr ConfigKey kBatching[] = {
    {"enabled", kBool, "false", "", "batches of equal tokens"},
    {"metrics_path", kText, "null", "", "folder"},
    {"lr_scaling_method", kChoice, "\"linear\"", "linear|sqrt|none", "rate by batch size"},
    {"min_batch_size", kInt, "1", "[1,)", "least batch"},
    {"max_batch_size", kInt, "null", "[1,)", "largest batch"},
    {"sequence_picking_order", kChoice, "\"dataloader\"", "dataloader|random|seqlen", "order"},
    {"max_tokens", kInt, "null", "[1,)", "tokens of a batch"},
    {"verbose", kBool, "false", "", "log the batches"},
};
constexpr ConfigKey kRouting[] = {
    {"enabled", kBool, "false", "", "drop tokens inside layers"},
    {"random_ltd", kSection, "null", "", "random layer-token dropping", kHonoured},
};
constexpr ConfigKey kLtd[] = {
    {"enabled", kBool, "false", "", "drop tokens inside layers"},
    {"total_layer_num", kInt, "null", "[0,)", "layers of the model"},
    {"random_ltd_layer_num", kInt, "null", "[0,)", "layers that drop"},
    {"random_ltd_layer_id", kList, "null", "", "which they are"},
    {"model_mask_name", kText, "null", "", "name of the mask"},
    {"model_type", kChoice, "null", "decoder|encoder", "kind of the model"},
    {"hidden_state_order", kChoice, "null", "batch_seq_dim|seq_batch_dim", "order of dimensions"},
    {"micro_batch_size", kInt, "null", "[1,)", "samples per rank"},
    {"global_batch_size", kInt, "null", "[1,)", "samples over all ranks"},
    {"random_ltd_schedule", kSection, "null", "", "how many tokens are kept", kHonoured},
    {"layer_token_lr_schedule", kSection, "null", "", "rate by kept tokens", kHonoured},
};
constexpr ConfigKey kLtdSchedule[] = {
    {"min_value", kInt, "null", "[0,)", "tokens at the start"},
    {"max_value", kInt, "null", "[0,)", "tokens at the end"},
    {"schedule_type", kChoice, "\"fixed_linear\"", "fixed_linear", "how"},
    {"schedule_config", kSection, "null", "", "numbers of the schedule", kHonoured},
};
constexpr ConfigKey kLtdSteps[] = {
    {"require_steps", kInt, "null", "[0,)", "steps until the end"},
    {"seq_per_step", kInt, "null", "[0,)", "tokens are a multiple of this"},
};
constexpr ConfigKey kTokenLr[] = {
    {"enabled", kBool, "false", "", "DeepSpeed does not implement it"},
    {"total_layer_tokens", kInt, "null", "[0,)", "tokens of the whole training"},
    {"warmup_layer_tokens", kInt, "null", "[0,)", "tokens of the warm-up"},
};

constexpr std::string_view kRoot = "data_efficiency";
constexpr ConfigSection kSections[] = {
    {.path = kRoot, .keys = kEfficiency, .toggle = kEnabled, .off = kFalse},
    {.path = "data_efficiency.data_sampling", .keys = kSampling},
    {.path = "data_efficiency.data_sampling.curriculum_learning", .keys = kCurriculum},
    {.path = "data_efficiency.data_sampling.curriculum_learning.curriculum_metrics.*",
     .keys = kMetric},
    {.path = "data_efficiency.data_sampling.curriculum_learning.curriculum_metrics.*."
             "schedule_config",
     .keys = kSchedule,
     .open = true},  // a custom schedule has numbers of its own
    {.path = "data_efficiency.data_sampling.dynamic_batching", .keys = kBatching},
    {.path = "data_efficiency.data_routing", .keys = kRouting},
    {.path = "data_efficiency.data_routing.random_ltd", .keys = kLtd},
    {.path = "data_efficiency.data_routing.random_ltd.random_ltd_schedule", .keys = kLtdSchedule},
    {.path = "data_efficiency.data_routing.random_ltd.random_ltd_schedule.schedule_config",
     .keys = kLtdSteps},
    {.path = "data_efficiency.data_routing.random_ltd.layer_token_lr_schedule", .keys = kTokenLr},
};

}  // namespace

std::span<const ConfigSection> DataSections() { return kSections; }

}  // namespace ds
