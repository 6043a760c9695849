// What a rank will hold, by kind, before anything is allocated: the decisions of registration, of
// the Gatherer, the Reducer and the WindowPool, run over sizes alone. For a model that uses its
// units one after the other, forward and then backward, as a transformer does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "optim/update_rule.h"
#include "param/param.h"
#include "tensor/dtype.h"
#include "tensor/shard_layout.h"
#include "zero/placement.h"

namespace ds::zero {

struct MemoryPlan {
  int64_t weights = 0, gradients = 0, master = 0, moments = 0;
  int64_t windows = 0;     // the most at any time of the first two steps; it stays at that
  int64_t scratch = 0;     // of norms and of rules of whole matrices
  int64_t at_placing = 0;  // the most while units were placed, with their values in fp32
  int64_t state() const { return weights + gradients + master + moments; }
};

struct MemoryQuestion {
  ZeroOptions zero;
  DType dtype = DType::kF32;
  int64_t accumulation = 1;
  int world = 1;
  const optim::UpdateRule* rule = nullptr;  // of all parameters
  // The last layer uses the first one's parameters again, while it holds its own: a head that is
  // tied to the embedding.
  bool tied_head = false;
};

// `specs` in the order of registration, each with a unit of the caller's.
MemoryPlan PlanMemory(const MemoryQuestion& question, const std::vector<ParamSpec>& specs);

}  // namespace ds::zero
