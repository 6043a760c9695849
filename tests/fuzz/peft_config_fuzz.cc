// Any bytes as an adapter_config.json: never a crash, and what is accepted is the same when it is
// written and read again.
#include <cstdint>

#include "fuzzing.h"
#include "model/peft_config.h"

namespace {

ds::Result<ds::model::LoraConfig> Read(std::string_view text) {
  static const ds::model::LoraRanks ranks = {{"model.layers.0.self_attn.q_proj", 4},
                                             {"model.layers.1.self_attn.q_proj", 8},
                                             {"model.layers.1.mlp.down_proj", 4}};
  DS_ASSIGN(const auto config, ds::model::PeftConfig::Parse(text, "it"));
  return config.Resolve(ranks);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto lora = Read({reinterpret_cast<const char*>(data), size});
  if (!lora.ok()) {
    Require(!lora.status().message().empty(), "refused without a word");
    return 0;
  }
  Require(lora->Check().ok(), "a config that does not pass its check");
  const auto layout = ds::model::WeightLayout::kOutIn;
  const std::string written = ds::model::ToPeftConfig(*lora, layout);
  auto again = Read(written);
  Require(again.ok(), "what was written is refused");
  Require(ds::model::ToPeftConfig(*again, layout) == written, "not the same again");
  for (const char* product : {"model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"}) {
    Require(lora->Names(product) == again->Names(product), "other products");
    Require(lora->ScaleOf(product) == again->ScaleOf(product), "another scale");
  }
  return 0;
}
