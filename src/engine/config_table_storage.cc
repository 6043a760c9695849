// Disks, checkpoints and activations. deepspeed/runtime/swap_tensor/constants.py,
// runtime/model_checkpointing, runtime/activation_checkpointing/config.py.
#include "engine/config_keys.h"

namespace ds {
namespace {

using enum ConfigType;

constexpr std::string_view kNoSwap = "nothing is offloaded to a disk (zero_optimization.offload_*)";
constexpr std::string_view kArena = "a model has one buffer for all that it keeps, of its size";
constexpr std::string_view kOwnFormat =
    "a checkpoint is the library's own: one folder, written "
    "whole and then renamed";

constexpr ConfigKey kAio[] = {
    {"block_size", kInt, "1048576", "[1,)", "bytes of a request", Idle(kNoSwap)},
    {"queue_depth", kInt, "8", "[0,)", "requests in flight per thread", Idle(kNoSwap)},
    {"intra_op_parallelism", kInt, "1", "[1,)", "threads of one transfer", Idle(kNoSwap)},
    {"thread_count", kInt, "1", "[1,)", "DeepSpeed's documents name it; its code does not read it",
     Refused("write aio.intra_op_parallelism")},
    {"single_submit", kBool, "false", "", "one request per system call", Idle(kNoSwap)},
    {"overlap_events", kBool, "true", "", "submit and wait together", Idle(kNoSwap)},
    {"use_gds", kBool, "false", "", "from disk to GPU without the CPU",
     Refused("there is no GPUDirect Storage here")},
};

// How activations are kept by a model that computes the rest again. Whether one does is the model's
// to say, in DeepSpeed too, where the section switches nothing on.
constexpr ConfigKey kActivations[] = {
    {"partition_activations", kBool, "false", "", "ranks of model parallelism keep a part each",
     Idle("there is no model parallelism; dspeed train --recompute keeps less")},
    {"number_checkpoints", kInt, "null", "[0,)", "activations that the buffer has room for",
     Idle(kArena)},
    {"contiguous_memory_optimization", kBool, "false", "", "keep them in one buffer", Idle(kArena)},
    {"cpu_checkpointing", kBool, "false", "", "keep them on the CPU",
     Idle("they are in its memory; dspeed train --recompute keeps less of them")},
    {"synchronize_checkpoint_boundary", kBool, "false", "", "wait for the GPU between layers",
     Idle("there is no GPU to wait for")},
    {"profile", kBool, "false", "", "time every layer", Refused("dspeed train --trace FILE")},
};

constexpr ConfigKey kCheckpoint[] = {
    {"tag_validation", kWord, "\"Warn\"", "Ignore|Warn|Fail",
     "what to do when ranks save under different names",
     Idle("one rank writes a checkpoint, so there is one name")},
    {"load_universal", kBool, "false", "", "load a checkpoint of another world size",
     Idle("the state of a run loads at every world size")},
    {"use_node_local_storage", kBool, "false", "", "every node has a disk of its own",
     Refused("a checkpoint is one folder that every rank can read")},
    {"parallel_write", kSection, "null", "", "who writes what", kHonoured},
    {"checkpoint_serialization", kBool, "true", "", "torch's newer file format",
     Refused(kOwnFormat)},
    {"writer", kSection, "null", "", "how files are written", Refused(kOwnFormat)},
};

constexpr ConfigKey kParallelWrite[] = {
    {"pipeline_stage", kBool, "false", "", "every stage of a pipeline writes its layers",
     Refused("there is no pipeline parallelism here")},
};

constexpr ConfigKey kWriter[] = {
    {"type", kWord, "\"fast\"", "mock|python|fast", "which writer"},
    {"io_buffer_size", kInt, "67108864", "[1,)", "bytes of a buffer"},
    {"io_buffer_double", kBool, "true", "", "two buffers"},
    {"show_statistics", kBool, "false", "", "log the rate"},
    {"data_parallel", kChoice, "null", "replica|socket|machine", "which ranks write"},
    {"decoupled", kBool, "false", "", "write beside training"},
    {"io_multiplier", kInt, "1", "[1,)", "writers per rank"},
};

constexpr ConfigSection kSections[] = {
    {.path = "aio", .keys = kAio},
    {.path = "activation_checkpointing", .keys = kActivations},
    {.path = "checkpoint", .keys = kCheckpoint},
    {.path = "checkpoint.parallel_write", .keys = kParallelWrite},
    {.path = "checkpoint.writer", .keys = kWriter},
};

}  // namespace

std::span<const ConfigSection> StorageSections() { return kSections; }

}  // namespace ds
