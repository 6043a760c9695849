// Two ways of doing the same thing, timed in turns, as one ratio. Not a profiler: it answers "how
// many times faster", which is what a claim about speed says and what survives another machine.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace ds::bench {

template <typename Body>
double Seconds(Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// seconds(yardstick) / seconds(ours): above 1 ours is faster. The two run alternately, in pairs, so
// that a change of the machine's clock or load meets both; the median pair is the answer.
template <typename Ours, typename Yardstick>
double MedianRatio(Ours&& ours, Yardstick&& yardstick, int pairs = 9) {
  ours();  // warm: caches, pages, code
  yardstick();
  std::vector<double> ratios;
  for (int pair = 0; pair < std::max(pairs, 7); ++pair) {
    // Each goes first in every other pair.
    double own = 0, other = 0;
    if (pair % 2 == 0) own = Seconds(ours);
    other = Seconds(yardstick);
    if (pair % 2 != 0) own = Seconds(ours);
    ratios.push_back(other / own);
  }
  return Median(std::move(ratios));
}

// What scripts/bench collects: one line of JSON after a marker. The names hold no quotes.
inline void Report(const std::string& name, double ratio, const std::string& against, double goal) {
  std::printf("RATIO {\"name\": \"%s\", \"ratio\": %.4g, \"against\": \"%s\", \"goal\": %.4g}\n",
              name.c_str(), ratio, against.c_str(), goal);
  std::fflush(stdout);
}

}  // namespace ds::bench
