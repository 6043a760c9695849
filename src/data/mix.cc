#include "data/mix.h"

#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>

#include "base/file.h"
#include "base/json.h"

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

bool IsWeight(double weight) { return std::isfinite(weight) && weight > 0; }

Result<WeightedSource> ReadEntry(const Json& entry, const std::filesystem::path& folder) {
  if (!entry.is_object()) {
    return Error(Code::kConfig, "is {}, expected an object", JsonTypeName(entry));
  }
  for (const auto& [key, value] : entry.items()) {
    if (key != "path" && key != "weight" && key != "format" && key != "field") {
      return Error(Code::kConfig, "{}: is not known, expected path, weight, format or field", key);
    }
  }
  std::string path, format = "auto", field = "text";
  WeightedSource source;
  DS_TRY(RequireKey(entry, "path", path));
  if (path.find('\0') != path.npos) {
    return Error(Code::kConfig, "path: has a NUL byte behind {}", path.c_str());
  }
  DS_TRY(ReadKey(entry, "weight", source.weight));
  DS_TRY(ReadKey(entry, "format", format));
  DS_TRY(ReadKey(entry, "field", field));
  if (!IsWeight(source.weight)) {
    return Error(Code::kConfig, "weight: is {}, expected a finite number above 0", source.weight);
  }
  DS_ASSIGN(source.source, Source::Find((folder / path).string(), format, field));
  return source;
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
    const bool bad = !number.has_value() || !IsWeight(*number);
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

Result<std::vector<WeightedSource>> ReadMixFile(const std::string& path) {
  DS_ASSIGN(const std::string text, ReadFile(path));
  DS_ASSIGN(const Json root, ParseJson(text, path));
  const Json entries = root.is_object() ? root.value("sources", Json()) : Json();
  if (!entries.is_array() || entries.empty() || root.size() != 1) {
    return Error(Code::kConfig, "{}: expected an object with sources, an array, and nothing else",
                 path);
  }
  std::vector<WeightedSource> sources;
  for (const Json& entry : entries) {
    auto source = ReadEntry(entry, std::filesystem::path(path).parent_path());
    if (!source.ok()) {
      return Error(source.status().code(), "{}: sources[{}]: {}", path, sources.size(),
                   source.status().message());
    }
    sources.push_back(std::move(source).Take());
  }
  return sources;
}

Result<Mix> Mix::Open(std::span<const WeightedSource> sources, const token::Tokenizer* tokenizer,
                      int64_t vocab, int64_t tokens, Order order, TaskPool& pool) {
  Mix mix;
  double sum = 0;
  for (const WeightedSource& one : sources) sum += one.weight;
  for (const WeightedSource& one : sources) {
    if (order == Order::kDealt && one.weight != sources.front().weight) {
      return InvalidArgument(
          "{} has weight {} and {} weight {}: --epochs takes each of their windows once, --steps "
          "goes by weights",
          sources.front().source.path, sources.front().weight, one.source.path, one.weight);
    }
    if (!std::isfinite(sum) || one.weight / sum < kLeastPart) {
      return InvalidArgument("{}: its weight is {} of {}, expected a part of {} or more",
                             one.source.path, one.weight, sum, kLeastPart);
    }
    DS_ASSIGN(Corpus corpus, Corpus::Open(one.source, tokenizer, vocab, tokens, pool));
    mix.corpora_.push_back(std::move(corpus));
    mix.parts_.push_back(one.weight / sum);
  }
  for (size_t i = 0; order == Order::kDealt && i < mix.size(); ++i) {
    mix.parts_[i] = static_cast<double>(mix.corpora_[i].train().size()) /
                    static_cast<double>(mix.train_windows());
  }
  return mix;
}

std::string Mix::name() const {
  std::string name;
  for (const Corpus& corpus : corpora_) name += (name.empty() ? "" : " + ") + corpus.path();
  return name;
}

std::vector<WeightedWindows> Mix::train() const {
  std::vector<WeightedWindows> texts;
  for (size_t i = 0; i < size(); ++i) texts.push_back({&corpora_[i].train(), parts_[i]});
  return texts;
}

int64_t Mix::train_windows() const {
  int64_t windows = 0;
  for (const Corpus& corpus : corpora_) windows += corpus.train().size();
  return windows;
}

std::vector<WeightedText> Mix::all() const {
  std::vector<WeightedText> texts;
  for (size_t i = 0; i < size(); ++i) texts.push_back({corpora_[i].all(), parts_[i]});
  return texts;
}

}  // namespace ds::data
