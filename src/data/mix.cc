#include "data/mix.h"

#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>

namespace ds::data {
namespace {

// A text with a smaller part of the samples would not be seen in any run.
constexpr double kLeastPart = 1e-9;

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

std::optional<double> ParseNumber(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (error != std::errc()) return std::nullopt;
  return number;
}

}  // namespace

Result<WeightedSource> WeightedSource::Find(const std::string& path, std::string_view format,
                                            const std::string& field) {
  std::string name = path;
  double weight = 1;
  const size_t sign = path.rfind('=');
  if (sign != path.npos && !Exists(path)) {
    const std::string_view text = std::string_view(path).substr(sign + 1);
    const auto number = ParseNumber(text);
    const std::string before = path.substr(0, sign);
    const bool bad = !number.has_value() || !(std::isfinite(*number) && *number > 0);
    if (bad && (number.has_value() || Exists(before))) {
      return InvalidArgument("--data {}: the weight is {}, expected a finite number above 0", path,
                             text);
    }
    if (!bad) {
      name = before;
      weight = *number;
    }
  }
  DS_ASSIGN(Source source, Source::Find(name, format, field));
  return WeightedSource{std::move(source), weight};
}

Result<Mix> Mix::Open(std::span<const WeightedSource> sources, const token::Tokenizer* tokenizer,
                      int64_t vocab, int64_t window, TaskPool& pool) {
  Mix mix;
  double sum = 0;
  for (const WeightedSource& one : sources) sum += one.weight;
  for (const WeightedSource& one : sources) {
    if (!std::isfinite(sum) || one.weight / sum < kLeastPart) {
      return InvalidArgument("{}: its weight is {} of {}, expected a part of {} or more",
                             one.source.path, one.weight, sum, kLeastPart);
    }
    DS_ASSIGN(Corpus corpus, Corpus::Open(one.source, tokenizer, vocab, window, pool));
    mix.corpora_.push_back(std::move(corpus));
    mix.parts_.push_back(one.weight / sum);
  }
  return mix;
}

std::string Mix::name() const {
  std::string name;
  for (const Corpus& corpus : corpora_) name += (name.empty() ? "" : " + ") + corpus.path();
  return name;
}

std::vector<WeightedText> Mix::train() const {
  std::vector<WeightedText> texts;
  for (size_t i = 0; i < size(); ++i) texts.push_back({corpora_[i].train(), parts_[i]});
  return texts;
}

std::vector<WeightedText> Mix::all() const {
  std::vector<WeightedText> texts;
  for (size_t i = 0; i < size(); ++i) texts.push_back({corpora_[i].all(), parts_[i]});
  return texts;
}

}  // namespace ds::data
