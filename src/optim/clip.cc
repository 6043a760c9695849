#include "optim/clip.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ds::optim {

double ClipFactor(double norm, double max_norm) {
  if (max_norm <= 0) return 1.0;
  return std::min(1.0, max_norm / (norm + 1e-6));
}

double UnscaleAndClipFactor(double norm, double max_norm, double scale) {
  if (max_norm <= 0) return 1.0 / scale;
  return 1.0 / (scale * std::max(1.0, (norm / scale + 1e-6) / max_norm));
}

double GlobalNorm(std::span<const double> norms) {
  double norm = 0;
  for (const double part : norms) {
    if (IsInvalidNorm(part)) return std::numeric_limits<double>::infinity();
    norm = std::hypot(norm, part);
  }
  return norm;
}

bool IsInvalidNorm(double norm) { return !std::isfinite(norm) || norm < 0; }

}  // namespace ds::optim
