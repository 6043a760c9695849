// What the texts of a run take in memory. Of one that the run would encode, the ids are counted by
// encoding it: nothing else says how many there are. They are not kept.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.h"
#include "base/task_pool.h"
#include "data/mix.h"
#include "token/tokenizer.h"

namespace ds::tool {

struct TextMemory {
  int64_t held = 0;     // while the run lasts: mapped files, and ids
  int64_t reading = 0;  // the most of the whole process while texts are encoded; 0: none is
};

// For sequences of `tokens`, as data::Mix::Open() reads them.
Result<TextMemory> MeasureTexts(std::span<const data::WeightedSource> texts,
                                const token::Tokenizer* tokenizer, int64_t tokens, TaskPool& pool);

}  // namespace ds::tool
