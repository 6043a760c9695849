#include "model/lora.h"

#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include "kernels/gemm.h"

namespace ds::model {

Status LoraSize::Check() const {
  if (rank < 1 || rank > (1 << 16)) {
    return Error(Code::kConfig, "the rank of the adapters is {}, expected 1 to {}", rank, 1 << 16);
  }
  if (!(alpha > 0 && alpha <= 1e6)) {
    return Error(Code::kConfig, "lora_alpha is {}, expected more than 0, to 1e6", alpha);
  }
  return {};
}

Status LoraConfig::Check() const {
  DS_TRY(size.Check());
  if (!(dropout >= 0 && dropout < 0.999)) {
    return Error(Code::kConfig, "lora_dropout is {}, expected 0 to 0.999", dropout);
  }
  for (const auto& [product, own] : chosen) {
    const Status status = own.Check();
    if (!status.ok()) return Error(status.code(), "{}: {}", product, status.message());
  }
  return {};
}

bool EndsWithName(std::string_view product, std::string_view name) {
  return product == name ||
         (product.ends_with(name) && product[product.size() - name.size() - 1] == '.');
}

bool LoraConfig::Names(std::string_view product) const {
  if (!chosen.empty()) return chosen.find(product) != chosen.end();
  return std::any_of(targets.begin(), targets.end(),
                     [&](const std::string& target) { return EndsWithName(product, target); });
}

LoraSize LoraConfig::SizeOf(std::string_view product) const {
  const auto own = chosen.find(product);
  return own != chosen.end() ? own->second : size;
}

std::optional<LoraSize> LoraConfig::CommonSize() const {
  if (chosen.empty()) return size;
  const LoraSize& first = chosen.begin()->second;
  const bool common = std::all_of(chosen.begin(), chosen.end(),
                                  [&](const auto& each) { return each.second == first; });
  return common ? std::optional(first) : std::nullopt;
}

float LoraConfig::ScaleOf(std::string_view product) const {
  const LoraSize size = SizeOf(product);
  const auto rank = static_cast<double>(size.rank);
  return static_cast<float>(size.alpha / (rank_stabilised ? std::sqrt(rank) : rank));
}

std::string ProductsText(const LoraConfig& config) {
  const char* const whole = config.embedding ? config.head ? "; whole the embedding and the head"
                                                           : "; whole the embedding"
                            : config.head    ? "; whole the head"
                                             : "";
  return config.chosen.empty() ? fmt::format("{}{}", fmt::join(config.targets, ", "), whole)
                               : fmt::format("{} products{}", config.chosen.size(), whole);
}

std::set<std::string> SplitTargets(std::string_view names) {
  constexpr std::string_view kBlanks = " \t";
  std::set<std::string> parts;
  for (size_t at = 0; at <= names.size();) {
    const size_t comma = std::min(names.find(',', at), names.size());
    std::string_view part = names.substr(at, comma - at);
    part.remove_prefix(std::min(part.find_first_not_of(kBlanks), part.size()));
    part = part.substr(0, part.find_last_not_of(kBlanks) + 1);
    parts.emplace(part);
    at = comma + 1;
  }
  return parts;
}

bool IsLora(std::string_view name) {
  return name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight");
}

std::string PeftName(std::string_view name) { return fmt::format("base_model.model.{}", name); }

LoraDelta::LoraDelta(const LowRank& adapter, std::vector<float> a, std::vector<float> b)
    : rank_(adapter.a->spec.shape[0]),
      in_(adapter.a->spec.shape[1]),
      out_(adapter.b->spec.shape[0]),
      layout_(adapter.layout),
      a_([&] {
        for (float& value : a) value *= adapter.scale;
        return std::move(a);
      }()),
      b_(std::move(b)) {}

void LoraDelta::AddTo(TaskPool& pool, int64_t first, std::span<float> rows) const {
  const bool out_in = layout_ == WeightLayout::kOutIn;
  const int64_t columns = out_in ? in_ : out_, count = std::ssize(rows) / columns;
  kernels::GemmShape shape{.m = count, .n = columns, .k = rank_, .ldc = columns};
  shape.accumulate = true;
  shape.lda = out_in ? rank_ : in_;
  shape.ldb = out_in ? in_ : rank_;
  shape.trans_a = shape.trans_b = !out_in;
  const auto gemm = kernels::CreateSimdGemm();
  const float* const left = out_in ? b_.data() + first * rank_ : a_.data() + first;
  kernels::Matmul(*gemm, device::Lane(pool), shape, left, (out_in ? a_ : b_).data(), rows.data());
}

}  // namespace ds::model
