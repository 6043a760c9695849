// How well a model foretells a text: the log-probability of each of its tokens, given those before
// it. Every token but the first is predicted once.
//
// The model reads windows of `context` tokens. The first window predicts all of its tokens; each
// later one lies `stride` further on and predicts the `stride` tokens that are new in it, so that
// every prediction but those of the first window sees at least context - stride tokens:
//
//   first   [a b c d e f g h]
//   second          [e f g h i j k l]         context 8, stride 4: i j k l are new
//
// Documents, where there are several, do not see each other. Whole ones that fit are read at once.
#pragma once

#include <cstdint>
#include <span>

#include "base/function_ref.h"
#include "base/status.h"
#include "model/model.h"

namespace ds::infer {

struct ScoreOptions {
  int64_t context = 0;  // tokens that are read at once; 0: as many as the model can
  int64_t stride = 0;   // 0: half the context
};

// The options with their zeros replaced, checked against the model.
Result<ScoreOptions> ResolveScore(const ScoreOptions& options, const model::Model& model);

// Called once a token, in order, from token 1 on; false ends the scoring (not an error). NaN: the
// token begins a document, which nothing foretells.
using ScoreCallback = FunctionRef<bool(double log_probability)>;

// Needs at least two tokens. `begins`: where documents begin, ascending from 0. On sharded weights
// every rank makes the same call.
Status ScoreText(model::Model& model, std::span<const int32_t> tokens,
                 std::span<const int64_t> begins, const ScoreOptions& options,
                 ScoreCallback callback);

}  // namespace ds::infer
