// The loss curve of a log as an SVG picture that stands alone.
#pragma once

#include <span>
#include <string>

#include "train_log.h"

namespace ds::tool {

struct PlotOptions {
  std::string title;
  double unigram_entropy = 0;  // a line to compare with; 0: none
};

// Training loss (each step, and smoothed) and validation loss over steps.
std::string LossPlot(std::span<const LogEntry> entries, const PlotOptions& options);

}  // namespace ds::tool
