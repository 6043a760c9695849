// A table with a row for each token (embedding, head) whose file has fewer: the rows of tokens that
// a tokenizer was given later.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "checkpoint/safetensors.h"

namespace ds::infer {

class GrownTable {
 public:
  // Of two dimensions, [rows, width]; what holds its bytes outlives this.
  explicit GrownTable(checkpoint::TensorView table) : table_(std::move(table)) {}

  // The elements [begin, begin + out.size()) of a table with rows enough. Each row that the file
  // has not is the mean of all that it has: the model then foretells the new tokens no more than an
  // average one, where random rows can outdo every other (Hewitt, "Initializing New Word Embeddings
  // for Pretrained Language Models", 2021). Any thread.
  Status Read(int64_t begin, std::span<float> out);

 private:
  Status FindMean();

  const checkpoint::TensorView table_;
  std::once_flag once_;
  Status found_;
  std::vector<float> mean_;  // of the rows
};

}  // namespace ds::infer
