// Text from a model: prompt in, tokens out one by one. One sequence at a time; on sharded weights
// every rank makes the same call and gets the same tokens.
#pragma once

#include <cstdint>
#include <span>

#include "base/function_ref.h"
#include "base/status.h"
#include "infer/sampler.h"
#include "model/model.h"

namespace ds::infer {

struct GenerateOptions {
  int64_t tokens = 256;  // to generate
  int64_t window = 0;    // tokens that the model sees at most; 0: its context
  SamplingOptions sampling = {};
};

// Called with each token as it is chosen; false ends the generation (not an error).
using TokenCallback = FunctionRef<bool(int32_t token)>;

// The model sees the last tokens that fit the window. When that is full, the older half of it is
// dropped and the rest read again: positions are absolute, so to move by one would be to read it
// all again for every token.
Status Generate(model::Model& model, std::span<const int32_t> prompt,
                const GenerateOptions& options, TokenCallback callback);

}  // namespace ds::infer
