// What DeepSpeed dropped after 0.19.6. deepspeed/elasticity, compression, ops/sparse_attention,
// runtime/{quantize,eigenvalue,progressive_layer_drop}.py, nebula of that release.
#include "engine/config_keys.h"

namespace ds {
namespace {

using enum ConfigType;

constexpr ConfigKey kElasticity[] = {
    {"enabled", kBool, "false", "", "choose a batch that fits many numbers of ranks",
     Refused("DeepSpeed dropped it after 0.19.6; set train_batch_size to a number that many world "
             "sizes divide: a run resumes at any of them")},
    {"max_train_batch_size", kInt, "2000", "[1,)", "largest batch"},
    {"micro_batch_sizes", kList, "[2, 4, 6]", "", "micro-batches that fit a rank"},
    {"min_gpus", kInt, "1", "[1,)", "fewest ranks"},
    {"max_gpus", kInt, "10000", "[1,)", "most ranks"},
    {"min_time", kInt, "0", "[0,)", "minutes between changes"},
    {"prefer_larger_batch", kBool, "true", "", "take the largest batch that fits"},
    {"ignore_non_elastic_batch_info", kBool, "false", "", "ignore the batch keys"},
    {"version", kNumber, "0.2", "", "version of the arithmetic"},
    {"model_parallel_size", kInt, "1", "[1,)", "model-parallel ranks"},
    {"num_gpus_per_node", kInt, "1", "[1,)", "ranks of a node"},
};
constexpr ConfigKey kMoq[] = {
    {"enabled", kBool, "false", "", "fewer bits as training goes",
     Refused("DeepSpeed dropped it after 0.19.6; the library quantises no weights")},
};
constexpr ConfigKey kEigenvalue[] = {
    {"enabled", kBool, "false", "", "measure the layers",
     Refused("DeepSpeed dropped it after 0.19.6, with the quantisation that used it")},
    {"verbose", kBool, "false", "", "log it"},
    {"max_iter", kInt, "100", "[1,)", "iterations"},
    {"tol", kNumber, "0.01", "", "tolerance"},
    {"stability", kNumber, "1e-6", "", "added to the denominator"},
    {"gas_boundary_resolution", kInt, "1", "[1,)", "steps between measurements"},
    {"layer_name", kText, "\"bert.encoder.layer\"", "", "name of the layers"},
    {"layer_num", kInt, "0", "[0,)", "number of layers"},
};
constexpr ConfigKey kSparse[] = {
    {"enabled", kBool, "true", "", "no key of DeepSpeed's: the section alone switches it on"},
    {"mode", kChoice, "\"fixed\"", "dense|fixed|variable|bigbird|bslongformer", "kind of layout"},
    {"block", kInt, "16", "[1,)", "size of a block"},
    {"different_layout_per_head", kBool, "false", "", "heads differ"},
    {"num_local_blocks", kInt, "4", "[1,)", "blocks of a window"},
    {"num_global_blocks", kInt, "1", "[0,)", "blocks that all see"},
    {"attention", kChoice, "\"bidirectional\"", "bidirectional|unidirectional", "direction"},
    {"horizontal_global_attention", kBool, "false", "", "global blocks see all"},
    {"num_different_global_patterns", kInt, "1", "[1,)", "patterns over the heads"},
    {"num_random_blocks", kInt, "0", "[0,)", "random blocks"},
    {"local_window_blocks", kList, "[4]", "", "windows"},
    {"global_block_indices", kList, "[0]", "", "which blocks are global"},
    {"global_block_end_indices", kList, "null", "", "where they end"},
    {"num_sliding_window_blocks", kInt, "3", "[1,)", "blocks of the sliding window"},
};
constexpr ConfigKey kLayerDrop[] = {
    {"enabled", kBool, "false", "", "skip layers",
     Refused("DeepSpeed dropped it after 0.19.6; the model decides which layers it runs")},
    {"theta", kNumber, "1.0", "[0,1]", "part of the layers that stays"},
    {"gamma", kNumber, "0.001", "", "how fast it is reached"},
};
constexpr ConfigKey kCurriculum[] = {
    {"enabled", kBool, "false", "", "sequences grow",
     Refused("DeepSpeed dropped it after 0.19.6; the caller feeds the sequences")},
    {"curriculum_type", kText, "\"seqlen\"", "", "what grows"},
    {"min_difficulty", kNumber, "null", "", "where it begins"},
    {"max_difficulty", kNumber, "null", "", "where it ends"},
    {"schedule_type", kChoice, "null", "fixed_discrete|fixed_linear|fixed_root|custom", "how"},
    {"schedule_config", kMap, "null", "", "numbers of the schedule"},
};
constexpr ConfigKey kNebula[] = {
    {"enabled", kBool, "false", "", "save through Nebula",
     Refused("DeepSpeed dropped it after 0.19.6; checkpoints are the library's own")},
    {"persistent_storage_path", kText, "null", "", "folder"},
    {"persistent_time_interval", kInt, "100", "[0,)", "seconds between copies"},
    {"num_of_version_in_retention", kInt, "2", "[1,)", "copies that are kept"},
    {"enable_nebula_load", kBool, "true", "", "load through Nebula"},
    {"nebula_load_path", kText, "null", "", "folder"},
};

constexpr ConfigSection kSections[] = {
    {.path = "elasticity", .keys = kElasticity, .toggle = kEnabled, .off = kFalse},
    {.path = "quantize_training", .keys = kMoq, .toggle = kEnabled, .off = kFalse, .open = true},
    {.path = "eigenvalue", .keys = kEigenvalue, .toggle = kEnabled, .off = kFalse},
    {.path = "sparse_attention", .keys = kSparse, .toggle = kEnabled, .off = kFalse},
    {.path = "progressive_layer_drop", .keys = kLayerDrop, .toggle = kEnabled, .off = kFalse},
    {.path = "curriculum_learning", .keys = kCurriculum, .toggle = kEnabled, .off = kFalse},
    {.path = "nebula", .keys = kNebula, .toggle = kEnabled, .off = kFalse},
};

}  // namespace

std::span<const ConfigSection> DroppedSections() { return kSections; }

}  // namespace ds
