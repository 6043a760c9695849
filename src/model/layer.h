// The residual layers a transformer is stacked from, y = x + f(x), and the blocks that acquire
// their parameters together. What f is (attention, MLP, ...) is the business of each layer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/arena.h"
#include "model/lora.h"
#include "model/param_use.h"

namespace ds::model {

struct Shape {
  int64_t batch = 0, tokens = 0;
  int64_t rows() const { return batch * tokens; }
  bool operator==(const Shape&) const = default;
};

// One run through the layers. With `cache` (batch 1) attention keeps keys and values, and the
// tokens of this pass follow `past` earlier ones; past > 0 needs tokens == 1.
struct Pass {
  const Compute& compute;
  Shape shape;
  bool cache = false;
  int64_t past = 0;
  // Of each position of the pass: cosines and sines, where the model rotates (kernels::Ops::rope).
  const float* angles = nullptr;
  // The first key of each row, null: 0; the same where a window counts as well.
  const int32_t *first_keys = nullptr, *windowed_keys = nullptr;

  // Where parameters are trained: dropout draws by the seed and the number of the first sequence.
  bool trains = false;
  uint64_t seed = 0;
  int64_t first_sequence = 0;
  // At a site of the model, of arrays with `rows` rows a sequence.
  kernels::Dropout DropoutAt(uint64_t site, double rate, int64_t rows) const {
    return trains && rate > 0 ? kernels::Dropout(rate, seed, site, first_sequence * rows)
                              : kernels::Dropout();
  }

  const int32_t* first_key(int64_t window) const { return window > 0 ? windowed_keys : first_keys; }
};

// What a layer is told beside the sizes of its family.
struct LayerOptions {
  // Spread of fresh weights: of all, and of those whose product goes to the residual stream.
  float stddev, residual_stddev;
  const LoraConfig* lora = nullptr;  // null: no adapters
  uint64_t site = 0;                 // the first of the sites of dropout that are the block's
  // That of the adapter beside product k of the block, of 8.
  uint64_t AdapterSite(uint64_t k) const {
    return uint64_t{0xD1} << 56 | (site & 0xFFFFFFFF) << 3 | k;
  }
};

// Where a layer's branch meets the residual stream: y += bias, dropout, y += x; bias may be null.
class Residual {
 public:
  static constexpr uint64_t kSites = 4;  // of a block

  Residual(int64_t width, double rate, uint64_t site) : width_(width), rate_(rate), site_(site) {}

  void PlanScratch(const Shape& shape, bool backward, Carver& carver);
  void Add(const Pass& pass, const void* bias, const void* x, void* y) const;
  // The gradient of the branch, of that of the sum: that itself where nothing is dropped.
  const void* BranchGrad(const Pass& pass, const void* dx) const;

 private:
  kernels::Dropout DropoutOf(const Pass& pass) const {
    return pass.DropoutAt(site_, rate_, pass.shape.tokens);
  }

  const int64_t width_;
  const double rate_;
  const uint64_t site_;
  void* d_branch_ = nullptr;  // [N, C]
};

// Activations are kept by the layer, in memory placed by Plan, from Forward to Backward.
class Layer {
 public:
  virtual ~Layer() = default;

  // In the order of their first use.
  virtual void AppendParams(std::vector<Param*>& params) = 0;

  // What Forward keeps for Backward, and what either needs only while it runs.
  virtual void Plan(const Compute& compute, const Shape& shape, Carver& carver) = 0;
  virtual void PlanScratch(const Compute& compute, const Shape& shape, bool backward,
                           Carver& carver) = 0;
  // Keys and values of up to `context` tokens; layers without any place nothing.
  virtual void PlanCache(int64_t /*context*/, Carver& /*carver*/) {}

  // x, y [rows, width]. y null: only what Backward needs is computed.
  virtual Status Forward(const Pass& pass, const void* x, void* y) = 0;
  // dx holds the gradient of y and becomes that of x. Gradients of the parameters are handed to
  // the store.
  virtual Status Backward(const Pass& pass, const void* x, void* dx) = 0;
};

// Layers whose parameters travel as one unit of the store. Each pass acquires and releases them.
class Block {
 public:
  explicit Block(std::vector<std::unique_ptr<Layer>> layers, int64_t width);

  ParamList params() const { return params_; }
  void Plan(const Compute& compute, const Shape& shape, Carver& carver);
  // Places each layer's scratch at the same spot: they run one after the other.
  void PlanScratch(const Compute& compute, const Shape& shape, bool backward, Carver& carver);
  void PlanCache(int64_t context, Carver& carver);

  Status Forward(const Pass& pass, const void* x, void* y);
  // `recompute`: the kept activations are not there; they are computed again from x, in the same
  // way and so to the same bits.
  Status Backward(const Pass& pass, bool recompute, const void* x, void* dx);

 private:
  Status RunForward(const Pass& pass, const void* x, void* y);

  std::vector<std::unique_ptr<Layer>> layers_;  // fixed from the start
  int64_t width_;
  std::vector<Param*> params_;
  std::vector<void*> between_;  // the output of each layer but the last
};

}  // namespace ds::model
