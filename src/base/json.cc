#include "base/json.h"

#include <cmath>
#include <set>
#include <vector>

#include "base/json_scan.h"

namespace ds {
namespace {

// Builds the document from parser events; false stops the parser, with the reason in `error`.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view what, const JsonLimits& limits)
      : what_(what), max_depth_(limits.max_depth), huge_integers_(limits.huge_integers) {}

  bool null() override { return Put(nullptr); }
  bool boolean(bool value) override { return Put(value); }
  bool number_integer(number_integer_t value) override { return Put(value); }
  bool number_unsigned(number_unsigned_t value) override { return Put(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    if (huge_integers_ || text.find_first_of(".eE") != text.npos) return Put(value);
    const std::string path = Path();
    const std::string shown = text.size() > 40 ? text.substr(0, 40) + "..." : text;
    error_ = Error(Code::kConfig, "{}: {}{}{} does not fit 64 bits", what_, path,
                   path.empty() ? "" : " is ", path.empty() ? shown : shown + ", which");
    return false;
  }
  bool string(string_t& value) override { return Put(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(Json::object()); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& name) override {
    Level& level = open_.back();
    level.key = name;
    if (!level.container.contains(name)) return true;
    error_ = Error(Code::kConfig, "{}: key {} stands twice", what_, Path());
    return false;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& e) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..." without the bracket
    std::string_view text = e.what();
    if (const size_t end = text.find("] "); end != text.npos) text.remove_prefix(end + 2);
    error_ = Error(Code::kConfig, "{}: {}", what_, text);
    return false;
  }

  Json& root() { return root_; }
  const Status& error() const { return error_; }

 private:
  struct Level {
    Json container;
    std::string key;  // the last one read, in an object
  };

  bool Put(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (Level& level = open_.back(); level.container.is_array()) {
      level.container.push_back(std::move(value));
    } else {
      level.container[level.key] = std::move(value);
    }
    return true;
  }

  bool Open(Json container) {
    if (static_cast<int>(open_.size()) >= max_depth_) {
      error_ = Error(Code::kConfig, "{}: nested deeper than {} levels", what_, max_depth_);
      return false;
    }
    open_.push_back({std::move(container), {}});
    return true;
  }

  bool Close() {
    Json done = std::move(open_.back().container);
    open_.pop_back();
    return Put(std::move(done));
  }

  std::string Path() const {
    std::string path;
    for (const Level& level : open_) {
      if (level.container.is_array()) {
        path += fmt::format("[{}]", level.container.size());
      } else {
        if (!path.empty()) path += '.';
        path += level.key;
      }
    }
    return path;
  }

  const std::string_view what_;
  const int max_depth_;
  const bool huge_integers_;
  std::vector<Level> open_;
  Json root_;
  Status error_;
};

// A value as a message shows it: short, on one line.
std::string Shown(const Json& value) {
  std::string text = value.is_object() || value.is_array() ? "" : DumpJson(value, -1);
  if (text.size() > 40) text = text.substr(0, 37) + "...";
  return text.empty() ? text : fmt::format(" ({})", text);
}

Status WrongType(std::string_view key, const Json& value, const char* expected) {
  return Error(Code::kConfig, "{}: is {}{}, expected {}", key, JsonTypeName(value), Shown(value),
               expected);
}

// The value, or null when the key is absent.
Result<const Json*> Find(const Json& object, std::string_view key) {
  if (!object.is_object()) {
    return Error(Code::kConfig, "{}: looked up in {}, expected an object", key,
                 JsonTypeName(object));
  }
  const auto it = object.find(key);
  return it == object.end() ? nullptr : &*it;
}

}  // namespace

Result<Json> ParseJson(std::string_view text, std::string_view what, const JsonLimits& limits) {
  if (static_cast<int64_t>(text.size()) > limits.max_bytes) {
    return Error(Code::kConfig, "{}: {} bytes of JSON, at most {} are read", what, text.size(),
                 limits.max_bytes);
  }
  Builder builder(what, limits);
  try {
    const std::string plain = limits.comments ? BlankJsonExtras(text) : std::string();
    if (limits.comments) text = plain;
    if (const size_t nul = text.find('\0'); nul != text.npos) {  // the parser takes it for the end
      return Error(Code::kConfig, "{}: byte {} is NUL, which is no JSON", what, nul);
    }
    const bool done = Json::sax_parse(text.begin(), text.end(), &builder,
                                      nlohmann::json::input_format_t::json, /*strict=*/true,
                                      /*ignore_comments=*/limits.comments);
    if (done) return std::move(builder.root());
  } catch (const std::exception& e) {  // out of memory is all that is left
    return Error(Code::kOutOfMemory, "{}: {}", what, e.what());
  }
  if (!builder.error().ok()) return builder.error();
  return Error(Code::kConfig, "{}: not JSON", what);
}

std::string DumpJson(const Json& value, int indent) {
  return value.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

const char* JsonTypeName(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "an integer";
    case Json::value_t::number_float:
      return "a number";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::object:
      return "an object";
    default:
      return "no value";
  }
}

Status ReadKey(const Json& object, std::string_view key, bool& out) {
  DS_ASSIGN(const Json* value, Find(object, key));
  if (value == nullptr) return {};
  if (!value->is_boolean()) return WrongType(key, *value, "a boolean");
  out = value->get<bool>();
  return {};
}

Status ReadKey(const Json& object, std::string_view key, int64_t& out) {
  DS_ASSIGN(const Json* value, Find(object, key));
  if (value == nullptr) return {};
  if (value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX}) {
    return Error(Code::kConfig, "{}: {} does not fit 64 bits", key, value->get<uint64_t>());
  }
  if (value->is_number_float()) {
    const double number = value->get<double>();
    if (number == std::floor(number) && std::fabs(number) <= 0x1p53) {
      out = static_cast<int64_t>(number);
      return {};
    }
  }
  if (!value->is_number_integer()) return WrongType(key, *value, "an integer");
  out = value->get<int64_t>();
  return {};
}

Status ReadKey(const Json& object, std::string_view key, double& out) {
  DS_ASSIGN(const Json* value, Find(object, key));
  if (value == nullptr) return {};
  if (!value->is_number()) return WrongType(key, *value, "a number");
  out = value->get<double>();
  return {};
}

Status ReadKey(const Json& object, std::string_view key, std::string& out) {
  DS_ASSIGN(const Json* value, Find(object, key));
  if (value == nullptr) return {};
  if (!value->is_string()) return WrongType(key, *value, "a string");
  out = value->get<std::string>();
  return {};
}

}  // namespace ds
