// Text that grows by pieces and ends where one of some strings begins. What may yet turn out to be
// the beginning of one is held back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ds::tool {

class StopText {
 public:
  explicit StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Adds a piece; returns what can be shown of the text now, and was not yet. After stopped() there
  // is nothing more.
  std::string Add(std::string_view piece);
  // No piece will follow: what was held back.
  std::string Finish();

  bool stopped() const { return stopped_; }

 private:
  // Where the earliest stop string in held_ begins; npos: nowhere.
  size_t FindStop() const;
  // How many of the last bytes of held_ could be the beginning of a stop string.
  size_t Suspected() const;

  const std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace ds::tool
