#include "model/decoder_config.h"

#include <utility>

#include "model/family.h"

namespace ds::model {

Status DecoderConfig::Check() const {
  constexpr int64_t kLargest = int64_t{1} << 24;  // of any one size: products stay below 2^63
  const SizeNames& names = family->sizes;
  const std::pair<const char*, int64_t> sizes[] = {
      {names.vocab, vocab}, {names.context, context},  {names.layers, layers},
      {names.heads, heads}, {names.width, width},      {names.kv_heads, key_heads()},
      {"head_dim", dim()},  {names.inner, mlp_width()}};
  for (const auto& [name, size] : sizes) {
    if (size < 1 || size > kLargest) {
      return Error(Code::kConfig, "{} is {}, expected 1 to {}", name, size, kLargest);
    }
  }
  if (width > (1 << 17) || layers > (1 << 12) || heads * dim() > (1 << 17)) {
    return Error(Code::kConfig, "{} is {}, {} {} and all heads {} wide, at most {}, {} and {}",
                 names.width, width, names.layers, layers, heads * dim(), 1 << 17, 1 << 12,
                 1 << 17);
  }
  if (head_dim == 0 && width % heads != 0) {
    return Error(Code::kConfig, "{} is {}, not a multiple of {}, {}", names.width, width,
                 names.heads, heads);
  }
  if (heads % key_heads() != 0) {
    return Error(Code::kConfig, "{} is {}, not a multiple of {}, {}", names.heads, heads,
                 names.kv_heads, key_heads());
  }
  if (family->positions == Positions::kRope && dim() % 2 != 0) {
    return Error(Code::kConfig, "head_dim is {}, rotary positions need an even one", dim());
  }
  if (!(norm_eps > 0 && norm_eps <= 1)) {
    return Error(Code::kConfig, "{} is {}, expected more than 0 and at most 1", names.norm_eps,
                 norm_eps);
  }
  if (window < 0) {
    return Error(Code::kConfig, "sliding_window is {}, expected 1 or more, or null", window);
  }
  if (const int64_t row = padding_row(); row < -1 || row >= vocab) {
    return Error(Code::kConfig, "pad_token_id is {}, expected {} to {}", *pad_token, -vocab,
                 vocab - 1);
  }
  for (const auto& [name, rate] : {std::pair("dropout of attention", attention_dropout),
                                   {"dropout of embeddings", embedding_dropout},
                                   {"dropout of residuals", residual_dropout}}) {
    if (!(rate >= 0 && rate < 0.999)) {
      return Error(Code::kConfig, "the {} is {}, expected 0 to 0.999", name, rate);
    }
  }
  if (!windowed.empty() && static_cast<int64_t>(windowed.size()) != layers) {
    return Error(Code::kConfig, "layer_types has {} entries, {} is {}", windowed.size(),
                 names.layers, layers);
  }
  return {};
}

int64_t DecoderConfig::padding_row() const {
  if (!pad_token.has_value() || !family->padding_row) return -1;
  const int64_t row = *pad_token >= 0 ? *pad_token : vocab + *pad_token;
  return row >= 0 ? row : -2;  // no row at all
}

void DecoderConfig::GrowVocab(int64_t rows) {
  if (rows <= vocab) return;
  if (pad_token.has_value() && *pad_token < 0) *pad_token += vocab;
  vocab = rows;
}

int64_t DecoderConfig::parameters() const {
  const bool layer_norm = family->norm == NormKind::kLayer;
  const int64_t norm = layer_norm ? 2 * width : width;
  const int64_t products = width * qkv_width() + heads * dim() * width +
                           (family->mlp == MlpKind::kGelu ? 2 : 3) * width * mlp_width();
  const int64_t in_mlp = family->mlp == MlpKind::kGelu ? mlp_width() : 2 * mlp_width();
  const int64_t biases = (qkv_bias ? qkv_width() : 0) + (out_bias ? width : 0) +
                         (mlp_bias ? in_mlp + width : 0) + (family->qk_norm ? 2 * dim() : 0);
  const int64_t positions = family->positions == Positions::kLearned ? context * width : 0;
  return (tied ? 1 : 2) * vocab * width + positions + norm +
         layers * (products + biases + 2 * norm);
}

double DecoderConfig::TrainFlopsPerToken(int64_t tokens) const {
  const int64_t products = width * qkv_width() + heads * dim() * width +
                           (family->mlp == MlpKind::kGelu ? 2 : 3) * width * mlp_width();
  const int64_t attention = 12 * layers * heads * dim() * tokens;
  return 6.0 * static_cast<double>(vocab * width + layers * products) +
         static_cast<double>(attention);
}

}  // namespace ds::model
