// Low-rank adapters (Hu et al., "LoRA", 2021): which products get one and how large, as Hugging
// Face's PEFT writes it down, and the weights that an adapter makes of those below it.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "model/param_use.h"

namespace ds::model {

struct LoraConfig {
  int64_t rank = 8;
  double alpha = 16;
  bool rank_stabilised = false;  // scale by alpha / sqrt(rank) (Kalajdzievski 2023)
  // Products by the ends of their names: "q_proj", "attn.c_proj". "all-linear" stands for all of
  // them; none, for what PEFT adapts of the family where it is told nothing.
  std::set<std::string> targets = {};
  std::string base = {};  // the folder of the model below

  Status Check() const;
  float scale() const;
  // "model.layers.0.self_attn.q_proj" for "q_proj".
  bool Names(std::string_view product) const;
};

// "q_proj,v_proj".
std::set<std::string> SplitTargets(std::string_view names);

// adapter_config.json. What it asks for and these adapters do not do is refused by name.
Result<LoraConfig> ParseLoraConfig(std::string_view json, std::string_view what);
std::string ToPeftConfig(const LoraConfig& config, WeightLayout layout);

// "model.layers.0.self_attn.q_proj.lora_A.weight": a parameter of an adapter, and as PEFT names it.
bool IsLora(std::string_view name);
std::string PeftName(std::string_view name);

// The weights with their adapter added, in fp32. Both are acquired, and the host's.
void MergeAdapter(const kernels::Ops& ops, TaskPool& pool, const Param& weights,
                  std::span<float> merged);

}  // namespace ds::model
