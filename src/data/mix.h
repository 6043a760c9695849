// The texts that a run trains on, each drawn from as often as its weight says.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/task_pool.h"
#include "data/corpus.h"
#include "data/sampler.h"
#include "token/tokenizer.h"

namespace ds::data {

struct WeightedSource {
  Source source;
  double weight = 1;

  // PATH or PATH=WEIGHT. What lies there under the whole of the name is that, so that a name may
  // have a sign of its own; `format` and `field` are those of Source::Find.
  static Result<WeightedSource> Find(const std::string& path, std::string_view format,
                                     const std::string& field);
};

// A file {"sources": [{"path": "a.jsonl", "weight": 0.7, "format": "jsonl", "field": "body"},
// ...]}, of which the path is needed and begins where the file lies; the rest as Source has it.
Result<std::vector<WeightedSource>> ReadMixFile(const std::string& path);

class Mix {
 public:
  // As Corpus::Open for each of them: every one has a part for training and one for validation.
  // Dealt, each has as much of the samples as it has of the windows, so that weights which differ
  // are refused.
  static Result<Mix> Open(std::span<const WeightedSource> sources,
                          const token::Tokenizer* tokenizer, int64_t vocab, int64_t tokens,
                          Order order, TaskPool& pool);

  size_t size() const { return corpora_.size(); }
  const Corpus& corpus(size_t i) const { return corpora_[i]; }
  double part(size_t i) const { return parts_[i]; }  // of the samples; they add up to 1
  // The paths, for people.
  std::string name() const;
  std::vector<WeightedWindows> train() const;
  int64_t train_windows() const;  // of all
  std::vector<WeightedText> all() const;

 private:
  Mix() = default;

  std::vector<Corpus> corpora_;
  std::vector<double> parts_;
};

}  // namespace ds::data
