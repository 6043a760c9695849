// adapter_config.json: what Hugging Face's PEFT says of low-rank adapters.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/lora.h"

namespace ds::model {

// Of each product that has an adapter in a file of weights, the rank.
using LoraRanks = std::map<std::string, int64_t, std::less<>>;

class PeftConfig {
 public:
  // What it asks for and these adapters do not do is refused by name. `what`: the file.
  static Result<PeftConfig> Parse(std::string_view json, std::string_view what);

  // Which products have an adapter and of what size. Where that is said by patterns (a regular
  // expression, layers, ranks), it is as the weights have it.
  Result<LoraConfig> Resolve(const LoraRanks& ranks) const;
  // modules_to_save: that the embedding, or the head, is trained whole.
  bool embedding() const { return embedding_; }
  bool head() const { return head_; }
  // ensure_weight_tying: of a tied model both stay one.
  bool keeps_tied() const { return keeps_tied_; }

 private:
  PeftConfig() = default;
  Result<double> AlphaOf(std::string_view product) const;
  // Why PEFT would leave the weights of this product where they lie, as far as names, layers and a
  // rank say it; "": it would not, or patterns decide.
  std::string LeavesOut(std::string_view product, int64_t rank) const;

  std::string what_;
  LoraConfig lora_;
  bool patterns_ = false, embedding_ = false, head_ = false, keeps_tied_ = false;
  bool one_rank_ = true;  // there is no rank_pattern
  std::vector<std::string> excluded_;
  std::set<int64_t> layers_;
  std::map<std::string, double> alphas_;  // alpha_pattern, by the ends of names
};

// `whole`: the modules that lie with the adapters, by name.
std::string ToPeftConfig(const LoraConfig& config, WeightLayout layout,
                         const std::vector<std::string>& whole = {});

}  // namespace ds::model
