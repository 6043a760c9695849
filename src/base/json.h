// JSON text in and out without exceptions: bounded, duplicate keys refused, errors with a place.
// Not a schema: who reads a document decides which keys it knows.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/status.h"

namespace ds {

using Json = nlohmann::json;

struct JsonLimits {
  int64_t max_bytes = int64_t{64} << 20;
  int max_depth = 64;
  // Accept /* */, // and # comments, and a comma behind the last element.
  bool comments = true;
  // Take an integer beyond 64 bits for the nearest number; else it is refused by its key.
  bool huge_integers = false;
};

// `what` names the document in errors: a path, "config".
// Errors have code kConfig and give line and column, or the path of a key that stands twice.
Result<Json> ParseJson(std::string_view text, std::string_view what, const JsonLimits& limits = {});

// `indent` < 0: one line. Text that is not UTF-8 is written with replacement characters.
std::string DumpJson(const Json& value, int indent = 2);

// "an integer", "a string", ...: what a value is, for messages.
const char* JsonTypeName(const Json& value);

// A value of a key, in the type of `out`. When the key is absent Read leaves `out` as it is and
// Require fails. Another type fails and names the key and both types; an integer is accepted where
// a number is wanted, and 1e3 or 1000.0 where an integer is. `object` must be a JSON object.
Status ReadKey(const Json& object, std::string_view key, bool& out);
Status ReadKey(const Json& object, std::string_view key, int64_t& out);
Status ReadKey(const Json& object, std::string_view key, double& out);
Status ReadKey(const Json& object, std::string_view key, std::string& out);

template <typename T>
Status RequireKey(const Json& object, std::string_view key, T& out) {
  if (object.is_object() && !object.contains(key)) {
    return Error(Code::kConfig, "{}: missing", key);
  }
  return ReadKey(object, key, out);
}

}  // namespace ds
