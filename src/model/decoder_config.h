// What a decoder-only language model is made of, whatever its family calls it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/status.h"
#include "kernels/ops.h"
#include "model/rope.h"

namespace ds::model {

struct Family;
const Family& Gpt2Family();

// Sizes that are 0 follow from the others. The defaults are those of a GPT-2.
struct DecoderConfig {
  const Family* family = &Gpt2Family();
  int64_t vocab = 256, context = 256, layers = 4, heads = 4, width = 128;
  int64_t kv_heads = 0;  // keys and values; 0: heads
  int64_t head_dim = 0;  // 0: width / heads
  int64_t inner = 0;     // of the MLP; 0: 4 width
  float norm_eps = 1e-5f;
  bool tied = true;                           // the head is the embedding
  kernels::Gelu gelu = kernels::Gelu::kTanh;  // of families that have it
  bool qkv_bias = true, out_bias = true, mlp_bias = true;
  RopeConfig rope = {};  // of families that have it
  // A query sees the last `window` keys at most, in the layers that `windowed` names (empty: all);
  // 0: all keys.
  int64_t window = 0;
  std::vector<bool> windowed = {};
  // Dropout of training: of the probabilities of attention, of the embeddings, and of what each
  // layer adds to the stream; of the last two not every family has any.
  double attention_dropout = 0, embedding_dropout = 0, residual_dropout = 0;
  // Only carried from one config.json to the next; -1: none. Any of the eos_tokens ends a text.
  int64_t bos_token = -1;
  std::vector<int64_t> eos_tokens = {};
  // pad_token_id, which may count from the end of the vocabulary. Of families that have such a row
  // the embedding learns nothing of it (padding_idx of torch's).
  std::optional<int64_t> pad_token = {};

  int64_t key_heads() const { return kv_heads != 0 ? kv_heads : heads; }
  int64_t dim() const { return head_dim != 0 || heads < 1 ? head_dim : width / heads; }
  int64_t mlp_width() const { return inner != 0 ? inner : 4 * width; }
  int64_t qkv_width() const { return (heads + 2 * key_heads()) * dim(); }
  int64_t window_of(int64_t layer) const {
    return windowed.empty() || windowed[static_cast<size_t>(layer)] ? window : 0;
  }

  // The row of the embedding that stays as it is; -1: none.
  int64_t padding_row() const;
  // To `rows`, where it has fewer; the padding row stays the one that it is.
  void GrowVocab(int64_t rows);

  // Every size positive, heads that share keys evenly, and no product that overflows. Sizes are
  // called by their names in the family's config.json.
  Status Check() const;
  int64_t parameters() const;
  // Forward and backward, counted as Chowdhery et al. (PaLM, 2022, appendix B) do: 6 a weight in a
  // product, and attention over all `tokens` of the sequence.
  double TrainFlopsPerToken(int64_t tokens) const;
};

}  // namespace ds::model
