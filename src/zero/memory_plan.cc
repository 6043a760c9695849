#include "zero/memory_plan.h"

#include <algorithm>

#include "zero/order.h"
#include "zero/unit.h"

namespace ds::zero {
namespace {

// A unit as registration cuts it: parameters of one unit of the caller's under one rule.
struct PlannedUnit {
  const optim::UpdateRule* rule;  // null: frozen
  int64_t elements = 0;
  std::vector<std::pair<int64_t, int64_t>> segments;  // [begin, end) of each parameter
  int64_t scratch_floats = 0;
  ShardLayout layout = {};
};
// Units of one name of the caller's: they are used together.
struct Layer {
  std::string name;
  std::vector<int> units;
};

// WindowPool, over sizes.
class Windows {
 public:
  int64_t Take(int64_t bytes) {
    const auto it = std::lower_bound(free_.begin(), free_.end(), bytes);
    if (it == free_.end()) {
      if (!free_.empty()) {
        held_ -= free_.back();
        free_.pop_back();
      }
      held_ += bytes;
      peak_ = std::max(peak_, held_);
      return bytes;
    }
    const int64_t window = *it;
    free_.erase(it);
    return window;
  }
  void Give(int64_t window) {
    if (window > 0) free_.insert(std::lower_bound(free_.begin(), free_.end(), window), window);
  }
  int64_t peak() const { return peak_; }

 private:
  std::vector<int64_t> free_;
  int64_t held_ = 0, peak_ = 0;
};

// The first two steps of a rank: what is gathered, kept ahead and dropped, and which windows wait
// for their reduction.
class Steps {
 public:
  Steps(const MemoryQuestion& question, const std::vector<PlannedUnit>& units)
      : question_(question),
        units_(units),
        place_(PlacementOf(question.zero, question.world)),
        overlaps_(question.zero.overlap_comm && question.world > 1),
        gathered_(units.size()),
        acquired_(units.size()),
        local_grads_(units.size()) {}

  void Acquire(int u) {
    if (!place_.shards_parameters() || acquired_[u]++ > 0) return;
    order_.Use(u);
    std::erase(idle_, u);
    if (std::erase(early_, u) > 0) ahead_ -= Padded(u);
    if (gathered_[u] == 0) {
      MakeRoom(Padded(u));
      Start(u);
    }
    Prefetch();
  }
  void Release(int u) {
    if (!place_.shards_parameters() || --acquired_[u] > 0) return;
    if (live_ > question_.zero.max_live_parameters) return Drop(u);
    idle_.push_back(u);
  }
  void OpenGrads(int u) {
    if (!place_.shards_gradients() || units_[u].rule == nullptr || local_grads_[u] > 0) return;
    if (in_flight_.size() >= 2) Reclaim();
    local_grads_[u] = windows_.Take(Bytes(u));
  }
  void QueueGrads(int u) {
    if (place_.shards_gradients() && units_[u].rule != nullptr) in_flight_.push_back(u);
  }
  void EndStep() {
    while (!in_flight_.empty()) Reclaim();
    for (size_t u = 0; u < units_.size(); ++u) {
      if (units_[u].rule != nullptr && Matrices(*units_[u].rule)) {
        windows_.Give(windows_.Take(Padded(static_cast<int>(u)) * int64_t{sizeof(float)}));
      }
    }
    for (const int u : early_) Drop(u);
    for (const int u : idle_) Drop(u);
    early_.clear();
    idle_.clear();
    ahead_ = 0;
    order_.EndStep();
  }
  int64_t window_bytes() const { return windows_.peak(); }

  static bool Matrices(const optim::UpdateRule& rule) {
    return rule.scope() == optim::UpdateRule::Scope::kMatrix;
  }

 private:
  int64_t Padded(int u) const { return units_[u].layout.padded(); }
  int64_t Bytes(int u) const {
    return Padded(u) * static_cast<int64_t>(DTypeBytes(question_.dtype));
  }

  void Start(int u) {
    gathered_[u] = windows_.Take(Bytes(u));
    live_ += Padded(u);
  }
  void Drop(int u) {
    windows_.Give(gathered_[u]);
    gathered_[u] = 0;
    live_ -= Padded(u);
  }
  void MakeRoom(int64_t elements) {
    const int64_t most = question_.zero.max_live_parameters;
    while (!idle_.empty() && live_ + elements > most) {
      Drop(idle_.front());
      idle_.erase(idle_.begin());
    }
    while (!early_.empty() && live_ + elements > most) {
      Drop(early_.back());
      ahead_ -= Padded(early_.back());
      early_.pop_back();
    }
  }
  void Prefetch() {
    const int64_t limit = overlaps_ ? question_.zero.prefetch_bucket_size : 0;
    for (const int next : order_.Coming()) {
      if (gathered_[next] > 0) continue;
      if (ahead_ + Padded(next) > limit ||
          live_ + Padded(next) > question_.zero.max_live_parameters) {
        break;
      }
      Start(next);
      early_.push_back(next);
      ahead_ += Padded(next);
    }
  }
  void Reclaim() {
    int64_t& window = local_grads_[in_flight_.front()];
    windows_.Give(window);
    window = 0;
    in_flight_.erase(in_flight_.begin());
  }

  const MemoryQuestion& question_;
  const std::vector<PlannedUnit>& units_;
  const Placement place_;
  const bool overlaps_;
  Windows windows_;
  Order order_;
  std::vector<int64_t> gathered_;  // bytes of the window; 0: none
  std::vector<int> acquired_;
  std::vector<int64_t> local_grads_;  // bytes of the window; 0: none
  std::vector<int> idle_, early_, in_flight_;
  int64_t live_ = 0, ahead_ = 0;
};

const optim::UpdateRule* RuleFor(const optim::UpdateRule& rule, const ParamSpec& spec) {
  if (!spec.trainable) return nullptr;
  const bool matrix = spec.shape.size() >= 2 && !spec.auxiliary;
  return Steps::Matrices(rule) && !matrix ? &rule.other() : &rule;
}

void Append(PlannedUnit& unit, const ParamSpec& spec) {
  constexpr int64_t kAlignment = Unit::kParamAlignment;
  const int64_t numel = spec.numel();
  const int64_t offset = (unit.elements + kAlignment - 1) / kAlignment * kAlignment;
  unit.segments.emplace_back(offset, offset + numel);
  unit.elements = offset + numel;
  if (unit.rule == nullptr || spec.shape.size() < 2 || numel == 0) return;
  const int64_t rows = spec.shape[spec.shape.size() == 3 ? 1 : 0];
  const int64_t stack = spec.shape.size() == 3 ? spec.shape[0] : 1;
  unit.scratch_floats =
      std::max(unit.scratch_floats, unit.rule->scratch_floats(rows, numel / (rows * stack)));
}

struct Model {
  std::vector<PlannedUnit> units;
  std::vector<Layer> layers;
};

Model CutIntoUnits(const MemoryQuestion& question, const std::vector<ParamSpec>& specs) {
  Model model;
  for (const ParamSpec& spec : specs) {
    if (model.layers.empty() || model.layers.back().name != spec.unit) {
      model.layers.push_back({spec.unit, {}});
    }
    Layer& layer = model.layers.back();
    const optim::UpdateRule* rule = RuleFor(*question.rule, spec);
    auto it = std::find_if(layer.units.begin(), layer.units.end(),
                           [&](int u) { return model.units[u].rule == rule; });
    if (it == layer.units.end()) {
      layer.units.push_back(static_cast<int>(model.units.size()));
      model.units.push_back({.rule = rule, .segments = {}});
      it = layer.units.end() - 1;
    }
    Append(model.units[*it], spec);
  }
  for (PlannedUnit& unit : model.units) unit.layout = {unit.elements, question.world};
  return model;
}

int64_t Slices(const MemoryQuestion& question, Cut cut) {
  if (cut == Cut::kNone) return question.world;
  return cut == Cut::kWorld ? 1 : question.world / GroupSizeOf(question.zero, question.world);
}

void PlaceUnits(const MemoryQuestion& question, const Model& model, MemoryPlan& plan) {
  const Placement& place = PlacementOf(question.zero, question.world);
  const auto width = static_cast<int64_t>(DTypeBytes(question.dtype));
  for (const PlannedUnit& unit : model.units) {
    const auto bytes = [&](Cut cut, int64_t each) {
      return Slices(question, cut) * unit.layout.shard() * each;
    };
    plan.weights += bytes(place.parameters, width);
    if (unit.rule != nullptr) {
      plan.gradients += bytes(place.gradients, width);
      if (question.dtype != DType::kF32) plan.master += bytes(place.optimizer, 4);
      plan.moments += bytes(place.optimizer, 4) * std::ssize(unit.rule->state_names());
      const bool norms = unit.rule->scope() == optim::UpdateRule::Scope::kNorms;
      for (const auto& [begin, end] : unit.segments) {
        if (end == begin) continue;
        const int64_t first = begin / unit.layout.shard();
        const int64_t runs = (end - 1) / unit.layout.shard() - first + 1;
        plan.scratch += first == 0 ? int64_t{sizeof(double)} : 0;  // of slice 0, which rank 0 has
        plan.scratch += norms ? runs * static_cast<int64_t>(sizeof(optim::ParamSums)) : 0;
      }
    }
    // Values of fp32 weights are written where they stay.
    const bool in_place = question.dtype == DType::kF32;
    const int64_t kept = Slices(question, place.parameters) * unit.layout.shard();
    plan.at_placing =
        std::max(plan.at_placing, plan.state() + (in_place ? 0 : 4 * std::min(Unit::kPiece, kept)));
  }
}

// A micro-batch: all layers forward, all backward.
void RunMicroBatch(const MemoryQuestion& question, const Model& model, bool last, Steps& steps) {
  const auto each = [&](const Layer& layer, void (Steps::*act)(int)) {
    for (const int u : layer.units) (steps.*act)(u);
  };
  const Layer& first = model.layers.front();
  const Layer& head = model.layers.back();
  for (const Layer& layer : model.layers) {
    each(layer, &Steps::Acquire);
    if (&layer != &head) each(layer, &Steps::Release);
  }
  if (question.tied_head) {
    each(first, &Steps::Acquire);
    each(first, &Steps::OpenGrads);
    each(first, &Steps::Release);
  }
  for (size_t i = model.layers.size(); i-- > 0;) {
    const Layer& layer = model.layers[i];
    // An embedding needs its weights in the forward pass alone.
    const bool holds = &layer != &first && &layer != &head;
    if (holds) each(layer, &Steps::Acquire);
    each(layer, &Steps::OpenGrads);
    if (last) each(layer, &Steps::QueueGrads);
    if (holds || &layer == &head) each(layer, &Steps::Release);
  }
}

}  // namespace

MemoryPlan PlanMemory(const MemoryQuestion& question, const std::vector<ParamSpec>& specs) {
  MemoryPlan plan;
  if (specs.empty()) return plan;
  const Model model = CutIntoUnits(question, specs);
  PlaceUnits(question, model, plan);
  Steps steps(question, model.units);
  for (int step = 0; step < 2; ++step) {
    for (int64_t micro = 1; micro <= question.accumulation; ++micro) {
      RunMicroBatch(question, model, micro == question.accumulation, steps);
    }
    steps.EndStep();
  }
  plan.windows = steps.window_bytes();
  int64_t floats = 0;
  for (const PlannedUnit& unit : model.units) {
    if (unit.rule != nullptr && Steps::Matrices(*unit.rule)) {
      floats = std::max(floats, unit.scratch_floats);
    }
  }
  plan.scratch += floats * int64_t{sizeof(float)};
  return plan;
}

}  // namespace ds::zero
