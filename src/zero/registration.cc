// The part of ShardedStore that takes parameters in and ends with Seal().
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <fmt/ranges.h>

#include <utility>

#include "zero/sharded_store.h"

namespace ds::zero {
namespace {

// Parameters without a unit of their own share units of about this size: large enough to be worth a
// collective, small enough to be a window.
constexpr int64_t kSharedUnitElements = 4 << 20;
constexpr size_t kLongestName = 255;

}  // namespace

Status ShardedStore::CheckSpec(const ParamSpec& spec, std::span<const float> init) const {
  if (!failure_.ok()) return failure_;
  if (sealed_) {
    return InvalidState("{}: registered after the engine was sealed with {} parameters", spec.name,
                        param_count());
  }
  if (spec.name.empty() || spec.name.size() > kLongestName) {
    return InvalidArgument("parameter name has {} bytes, not 1 to {}", spec.name.size(),
                           kLongestName);
  }
  if (spec.unit.size() > kLongestName) {
    return InvalidArgument("{}: its unit's name has {} bytes, not 0 to {}", spec.name,
                           spec.unit.size(), kLongestName);
  }
  if (by_name_.contains(spec.name)) {
    return InvalidArgument("{}: registered twice, first as parameter {}", spec.name,
                           by_name_.at(spec.name));
  }
  int64_t numel = 1;
  for (const int64_t extent : spec.shape) {
    if (extent < 1 || __builtin_mul_overflow(numel, extent, &numel) || numel > int64_t{1} << 40) {
      return InvalidArgument("{}: shape [{}] has an extent below 1 or more than 2^40 elements",
                             spec.name, fmt::join(spec.shape, ", "));
    }
  }
  if (!init.empty() && static_cast<int64_t>(init.size()) != numel) {
    return InvalidArgument("{}: {} initial values for {} elements", spec.name, init.size(), numel);
  }
  return {};
}

Result<int> ShardedStore::UnitFor(const ParamSpec& spec) {
  const int last = static_cast<int>(units_.size()) - 1;
  std::string name = spec.unit;
  if (name.empty()) {
    const int64_t limit = std::min(kSharedUnitElements, options_.zero.reduce_bucket_size);
    const bool shared = last >= 0 && !units_[last]->placed() && params_.back().spec.unit.empty();
    if (shared && units_[last]->elements() < limit) return last;
    name = fmt::format("unit.{}", units_.size());
  } else if (last >= 0 && units_[last]->name() == name) {
    return last;
  }
  if (unit_by_name_.contains(name)) {
    return InvalidArgument("{}: its unit {} ended when parameter {} was registered", spec.name,
                           name, param_count() - 1);
  }
  DS_TRY(PlaceLastUnit());
  units_.push_back(std::make_unique<Unit>(context_, name));
  unit_by_name_[name] = last + 1;
  unit_begin_.push_back(param_count());
  return last + 1;
}

Status ShardedStore::PlaceLastUnit() {
  if (units_.empty() || units_.back()->placed()) return {};
  return units_.back()->Place();
}

Declaration ShardedStore::Declare(const ParamSpec& spec, std::span<const float> init) const {
  Declaration d;
  d.text = fmt::format("{} [{}]", spec.name, fmt::join(spec.shape, ", "));
  if (!spec.unit.empty()) d.text += fmt::format(" in unit {}", spec.unit);
  if (!spec.weight_decay) d.text += " without decay";
  d.digest = XXH3_64bits(d.text.data(), d.text.size()) ^
             XXH3_64bits_withSeed(init.data(), init.size_bytes(), 1);
  return d;
}

Result<ParamId> ShardedStore::Register(ParamSpec spec, std::span<const float> init) {
  DS_TRY(CheckSpec(spec, init));
  DS_ASSIGN(const int unit, UnitFor(spec));
  const int64_t numel = spec.numel();
  const int64_t offset = units_[unit]->Append(numel, spec.weight_decay, init);
  const ParamId id = param_count();
  declarations_.push_back(Declare(spec, init));
  by_name_[spec.name] = id;
  params_.push_back({.spec = std::move(spec), .unit = unit, .offset = offset, .numel = numel});
  return id;
}

Result<ParamId> ShardedStore::Find(const std::string& name) const {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) {
    return Error(Code::kNotFound, "no parameter {} among {}", name, param_count());
  }
  return it->second;
}

int64_t ShardedStore::numel() const {
  int64_t sum = 0;
  for (const Param& param : params_) sum += param.numel;
  return sum;
}

Status ShardedStore::Seal() {
  if (!failure_.ok()) return failure_;
  if (sealed_) return {};
  DS_TRY(Sticky(Agree(comm_, declarations_)));
  DS_TRY(Sticky(PlaceLastUnit()));
  declarations_ = {};
  reducer_->Expect(units_);
  sealed_ = true;
  return EndStep();
}

}  // namespace ds::zero
