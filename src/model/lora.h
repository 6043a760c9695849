// Low-rank adapters (Hu et al., "LoRA", 2021): which products get one and how large, and what an
// adapter adds to the weights below it. How PEFT writes it down is in peft_config.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/task_pool.h"
#include "model/param_use.h"

namespace ds::model {

// The size of an adapter.
struct LoraSize {
  int64_t rank = 8;
  double alpha = 16;

  Status Check() const;
  bool operator==(const LoraSize&) const = default;
};

// "model.layers.0.self_attn.q_proj" ends with the name "q_proj".
bool EndsWithName(std::string_view product, std::string_view name);

struct LoraConfig {
  LoraSize size = {};            // of those that have none of their own
  bool rank_stabilised = false;  // scale by alpha / sqrt(rank) (Kalajdzievski 2023)
  // Products by the ends of their names: "q_proj", "attn.c_proj". "all-linear" stands for all of
  // them; none, for what PEFT adapts of the family where it is told nothing.
  std::set<std::string> targets = {};
  // A list that PEFT wrote may name products that the model has not, beside those that it has.
  bool universal = false;
  // Of adapters that were chosen one by one: these products, by their whole names, and no others.
  std::map<std::string, LoraSize, std::less<>> chosen = {};
  // What is trained whole beside them, and lies with them; of a tied model both are one.
  bool embedding = false, head = false;
  std::string base = {};  // the folder of the model below
  double dropout = 0;     // of what they read, in training

  Status Check() const;
  // "model.layers.0.self_attn.q_proj" for "q_proj".
  bool Names(std::string_view product) const;
  LoraSize SizeOf(std::string_view product) const;
  // That of them all; none, where they differ.
  std::optional<LoraSize> CommonSize() const;
  float ScaleOf(std::string_view product) const;
};

// Which they are, for people.
std::string ProductsText(const LoraConfig& config);

// "q_proj, v_proj".
std::set<std::string> SplitTargets(std::string_view names);

// "model.layers.0.self_attn.q_proj.lora_A.weight": a parameter of an adapter.
bool IsLora(std::string_view name);
// As PEFT names a parameter that lies with the adapters.
std::string PeftName(std::string_view name);

// What an adapter adds to its weights, from its values in fp32, a [rank, in] and b [out, rank].
class LoraDelta {
 public:
  LoraDelta(const LowRank& adapter, std::vector<float> a, std::vector<float> b);

  // To some rows of the weights, as they lie, from row `first` on: a row is one of outputs, or of
  // inputs (WeightLayout). A product of fp32 by the SIMD kernels: the same bits on every machine
  // that has the same ones.
  void AddTo(TaskPool& pool, int64_t first, std::span<float> rows) const;

 private:
  const int64_t rank_, in_, out_;
  const WeightLayout layout_;
  const std::vector<float> a_, b_;  // a times the scale
};

}  // namespace ds::model
