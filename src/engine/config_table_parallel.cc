// Pipelines, tensors, experts, generation, compilers. deepspeed/runtime/pipe, tensor_parallel,
// module_inject/auto_ep, compile/config.py, runtime/hybrid_engine.py.
#include "engine/config_keys.h"

namespace ds {
namespace {

using enum ConfigType;

constexpr std::string_view kDataOnly =
    "every rank is a data-parallel one; zero_optimization.stage 3 "
    "shards the weights without changes to the model";

constexpr ConfigKey kPipeline[] = {
    {"stages", kAny, "\"auto\"", "", "stages of the pipeline", Refused(kDataOnly, "[1, null]")},
    {"partition", kText, "\"best\"", "", "how layers are spread over the stages"},
    {"seed_layers", kBool, "false", "", "a random state per layer"},
    {"activation_checkpoint_interval", kInt, "0", "[0,)", "layers between kept activations"},
    {"pipe_partitioned", kBool, "true", "", "send activations in parts"},
    {"grad_partitioned", kBool, "true", "", "send gradients in parts"},
    {"use_reentrant", kBool, "true", "", "which of torch's recomputations"},
};

constexpr ConfigKey kTensor[] = {
    {"autotp_size", kInt, "0", "[0,)", "ranks that share every layer", Refused(kDataOnly, "[1]")},
    {"dtype", kAny, "null", "", "dtype of the weights"},
    {"tp_overlap_comm", kBool, "false", "", "reduce beside the computation"},
    {"tp", kSection, "null", "", "the group of ranks", kHonoured},
    OtherName("tensor_parallel", "tp"),
    {"injection_policy_tuple", kAny, "null", "", "layers that are cut"},
    {"partition_config", kSection, "null", "", "how layers are cut", kHonoured},
    {"preset_model", kText, "null", "", "a model whose layers are known"},
    {"keep_module_on_host", kBool, "false", "", "cut on the CPU"},
    {"kernel_inject", kBool, "false", "", "replace layers by kernels"},
    {"replace_with_kernel_inject", kBool, "false", "", "old name of kernel_inject"},
    {"vocab_parallel_lm_head", kBool, "null", "", "cut the head by words"},
    {"vocab_parallel_ce_backend", kChoice, "\"torch\"", "torch|liger", "who computes the loss"},
};
constexpr ConfigKey kTp[] = {
    {"tp_size", kInt, "1", "[1,)", "ranks that share every layer", Refused(kDataOnly)},
    {"tp_grain_size", kInt, "1", "[1,)", "least part of a layer"},
    {"mpu", kAny, "null", "", "a Python object"},
    {"tp_group", kAny, "null", "", "a Python object"},
};
constexpr ConfigKey kPartition[] = {
    {"use_default_specs", kBool, "true", "", "known models need no list"},
    {"layer_specs", kList, "null", "", "a list of patterns and how each is cut"},
};

constexpr ConfigKey kExpert[] = {
    {"enabled", kBool, "false", "", "spread experts over the ranks", Refused(kDataOnly)},
    {"autoep_size", kInt, "1", "[0,)", "ranks that share the experts"},
    {"expert_tensor_parallel_size", kInt, "1", "[1,)", "ranks that share one expert"},
    {"validate_folding_routing", kBool, "false", "", "check the routing"},
    {"async_split_plan", kBool, "false", "", "plan exchanges ahead"},
    {"preset_model", kText, "null", "", "a model whose experts are known"},
    {"moe_layer_pattern", kText, "null", "", "names of mixture layers"},
    {"expert_pattern", kText, "null", "", "names of experts"},
    {"router_pattern", kText, "null", "", "names of routers"},
    {"use_grouped_mm", kBool, "true", "", "one product for all experts"},
    {"disable_triton_grouped_mm", kBool, "false", "", "not by Triton"},
    {"route_norm", kBool, "null", "", "normalise the weights of the chosen experts"},
    {"route_scale", kNumber, "1.0", "", "factor of the weights"},
    {"score_apply", kChoice, "\"auto\"", "auto|pre|post", "where the weights are applied"},
    {"combine_impl", kChoice, "\"auto\"", "auto|weighted_sum|legacy_bmm", "how results are joined"},
    {"row_weighting_impl", kText, "\"auto\"", "", "how rows are weighted"},
    {"gate_up_impl", kText, "\"separate\"", "", "how gate and up are multiplied"},
    {"comm_backend", kText, "\"comm\"", "", "who exchanges the tokens"},
    {"comm_num_sm", kInt, "12", "[0,)", "GPU cores of the exchange"},
    {"comm_qp_margin", kInt, "4", "[0,)", "queue pairs kept free"},
    {"comm_max_tokens_per_rank", kInt, "0", "[0,)", "bound of the exchange"},
    {"num_expert_groups", kInt, "null", "[1,)", "groups of experts"},
    {"num_limited_groups", kInt, "null", "[1,)", "groups a token may choose"},
    {"score_func", kChoice, "\"auto\"", "auto|softmax|sigmoid", "how scores are made"},
    {"top_k", kAny, "\"auto\"", "", "experts of a token"},
    {"load_balance_coeff", kNumber, "null", "", "DeepSpeed refuses all but null"},
    {"routed_scaling_factor", kAny, "\"auto\"", "", "factor of the routed part"},
    {"expert_w1", kText, "null", "", "name of the first weight"},
    {"expert_w2", kText, "null", "", "name of the second weight"},
    {"expert_w3", kText, "null", "", "name of the third weight"},
    {"num_experts_attr", kText, "null", "", "attribute of the model"},
    {"top_k_attr", kText, "null", "", "attribute of the model"},
    {"has_shared_experts", kBool, "null", "", "some experts see every token"},
    {"shared_experts_pattern", kText, "null", "", "names of those"},
    {"shared_experts_gate_pattern", kText, "null", "", "names of their gates"},
    {"expert_activation", kText, "null", "", "activation inside an expert"},
};

constexpr ConfigKey kHybrid[] = {
    {"enabled", kBool, "false", "", "generate with the weights in training",
     Refused("save the model and generate from it: dspeed train --save, dspeed generate")},
    {"max_out_tokens", kInt, "512", "[1,)", "longest text"},
    {"inference_tp_size", kInt, "1", "[1,)", "ranks that share a layer"},
    {"release_inference_cache", kBool, "false", "", "free the cache after generating"},
    {"pin_parameters", kBool, "true", "", "keep the weights in place"},
    {"tp_gather_partition_size", kInt, "8", "[1,)", "layers gathered at once"},
    {"enable_cuda_graph", kBool, "false", "", "record the GPU's work"},
};

constexpr ConfigKey kCompile[] = {
    {"deepcompile", kBool, "false", "", "compile the model with the collectives inside",
     Refused("nothing is compiled at run time; overlap_comm and stage3_prefetch_bucket_size hide "
             "the collectives")},
    {"autoep_non_moe", kBool, "false", "", "experts in models without mixtures"},
    {"free_activation", kBool, "false", "", "free activations early"},
    {"free_activation_threshold", kInt, "10485760", "[0,)", "bytes from which they are freed"},
    {"offload_activation", kBool, "false", "", "keep activations on the CPU"},
    {"offload_activation_pin_memory", kBool, "true", "", "in locked pages"},
    {"offload_opt_states", kBool, "false", "", "keep optimizer state on the CPU"},
    {"offload_parameters", kBool, "false", "", "keep weights on the CPU"},
    {"double_buffer", kBool, "true", "", "two buffers for reductions"},
    {"symmetric_memory", kBool, "false", "", "gather through symmetric memory"},
    {"debug_log", kBool, "false", "", "log the passes"},
    {"sync_before_reduce", kBool, "false", "", "wait there"},
    {"sync_after_reduce", kBool, "false", "", "wait there"},
    {"sync_before_allgather", kBool, "false", "", "wait there"},
    {"sync_after_allgather", kBool, "false", "", "wait there"},
    {"keep_int_input_tensors", kBool, "true", "", "keep inputs that are integers"},
    {"keep_all_input_tensors", kBool, "false", "", "keep all inputs"},
    {"passes", kList, "null", "", "of z1, z3, autosp, autotp"},
};

constexpr std::string_view kNoQuant = "the library quantises no weights";
constexpr ConfigKey kWeightQuantization[] = {
    {"enabled", kBool, "true", "", "quantise what the two lists below name",
     Idle("nothing is quantised unless a list names it")},
    {"num_bits", kInt, "8", "[1,)", "bits of a weight", Refused(kNoQuant)},
    {"q_type", kText, "\"symmetric\"", "", "where zero lies", Refused(kNoQuant)},
    {"q_groups", kInt, "1", "[1,)", "groups of a weight", Refused(kNoQuant)},
    {"quantized_initialization", kMap, "{}", "", "weights quantised while they load",
     Refused(kNoQuant)},
    {"post_init_quant", kMap, "{}", "", "weights quantised after they loaded", Refused(kNoQuant)},
};

constexpr ConfigSection kSections[] = {
    {.path = "pipeline", .keys = kPipeline, .toggle = "stages", .off = R"(["auto", 1, null])"},
    // No toggle: tp.tp_size asks for it as well.
    {.path = "tensor_parallel", .keys = kTensor, .lax = true},
    {.path = "tensor_parallel.tp", .keys = kTp, .toggle = "tp_size", .off = "[1]", .lax = true},
    {.path = "tensor_parallel.partition_config", .keys = kPartition, .lax = true},
    {.path = "expert_parallel", .keys = kExpert, .toggle = kEnabled, .off = kFalse},
    {.path = "hybrid_engine", .keys = kHybrid, .toggle = kEnabled, .off = kFalse, .lax = true},
    {.path = "compile", .keys = kCompile, .toggle = "deepcompile", .off = kFalse, .lax = true},
    {.path = "weight_quantization",
     .keys = kWeightQuantization,
     .toggle = kEnabled,
     .off = kFalse,
     .lax = true},
};

}  // namespace

std::span<const ConfigSection> ParallelSections() { return kSections; }

}  // namespace ds
