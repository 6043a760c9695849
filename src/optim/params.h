// Reads the "params" object of an optimizer or a schedule. What is asked for is what is known:
// Finish() refuses a key that nobody read, and names the nearest one that somebody did.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace ds::optim {

// As `below` of Params::Read(): every finite number is.
inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();

class Params {
 public:
  // `where` names the object in errors: "optimizer.params". Both are borrowed.
  Params(const Json& object, std::string_view where) : object_(object), where_(where) {}

  // A missing key, null and "auto" leave `out` as it is. The first error is kept for Finish().
  void Read(std::string_view key, bool& out);
  void Read(std::string_view key, int64_t& out, int64_t least);
  void Read(std::string_view key, double& out);                              // any finite number
  void Read(std::string_view key, double& out, double least, double below);  // in [least, below)
  void ReadBetas(std::string_view key, double& beta1, double& beta2);        // each in [0, 1)
  // One of `choices`, which are JSON strings.
  void ReadChoice(std::string_view key, std::string& out,
                  const std::vector<std::string_view>& choices);
  // A key that DeepSpeed has and we do not: only the value that asks for nothing is accepted.
  void Neutral(std::string_view key, const Json& value, std::string_view why);
  // A key that has nothing here to change.
  void Ignore(std::string_view key) { known_.emplace_back(key); }
  // What torch.optim takes beside the arithmetic.
  void ReadTorch();
  // Fails in Finish() unless the key is there.
  void Require(std::string_view key);
  bool has(std::string_view key) const;
  // Whether the key is there, if only as null or "auto".
  bool names(std::string_view key) const { return object_.is_object() && object_.contains(key); }
  void Fail(Status status);

  Status Finish();

 private:
  const Json* Find(std::string_view key);  // marks the key as known; nullptr when it is absent
  void Wrong(std::string_view key, std::string_view expected);

  const Json& object_;
  const std::string where_;
  std::vector<std::string> known_;
  Status first_error_;
};

// {"type": T, "params": {...}} from JSON text or a parsed value; `what` is "optimizer" or
// "scheduler". Other keys but `also` (which must be false) are refused.
struct TypeAndParams {
  std::string type;
  Json params;
};
Result<TypeAndParams> ReadTypeAndParams(const Json& json, std::string_view what,
                                        std::string_view also = "");

}  // namespace ds::optim
