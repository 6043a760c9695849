#include "stop_text.h"

#include <algorithm>
#include <utility>

namespace ds::tool {

size_t StopText::FindStop() const {
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  return first;
}

size_t StopText::Suspected() const {
  size_t most = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > most; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) most = n;
    }
  }
  return most;
}

std::string StopText::Add(std::string_view piece) {
  if (stopped_) return "";
  held_ += piece;
  const size_t stop = FindStop();
  stopped_ = stop != std::string::npos;
  const size_t shown = stopped_ ? stop : held_.size() - Suspected();
  std::string out = held_.substr(0, shown);
  held_.erase(0, stopped_ ? held_.size() : shown);
  return out;
}

std::string StopText::Finish() { return std::exchange(held_, ""); }

}  // namespace ds::tool
