// The pictures of a log, as SVG that stands alone.
#pragma once

#include <span>
#include <string>

#include "train_log.h"

namespace ds::tool {

struct PlotOptions {
  std::string title;
  double unigram_entropy = 0;  // a line to compare with; 0: none
  std::string unit = "token";  // of which losses are means
};

// Training loss (each step, and smoothed) and validation loss over steps.
std::string LossPlot(std::span<const LogEntry> entries, const PlotOptions& options);

// That, and the learning rate, the throughput, where the time of a step went and what the memory of
// a rank held, as the panels of one figure.
std::string RunPlot(std::span<const LogEntry> entries, const PlotOptions& options);

}  // namespace ds::tool
