// A panel of a figure in SVG: axes with round ticks, lines and stacked areas over them, a legend.
// What is drawn and in which colours is the figure's business.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ds::tool {

using Points = std::vector<std::pair<double, double>>;

struct Box {
  double left, top, width, height;  // of the plotted area; ticks and title lie around it
};

class Panel {
 public:
  // Fits the y axis to what is drawn: the extremes are widened to round numbers. `x1` > 0.
  Panel(const Box& box, double x1, double y0, double y1);

  double X(double x) const { return box_.left + x / x1_ * box_.width; }
  double Y(double y) const { return box_.top + (1 - (y - y0_) / (y1_ - y0_)) * box_.height; }

  // Grid, ticks, and what the x axis is.
  std::string Frame(const std::string& x_label) const;
  // One point is a dot; an area over one is a bar.
  std::string Line(const Points& points, const std::string& css) const;
  std::string Dots(const Points& points, const std::string& css) const;
  // Between two curves over the same x.
  std::string Area(const Points& lower, const Points& upper, const std::string& css) const;

  // Above the plotted area: what the y axis is, and at its right the names of what is drawn, in as
  // many rows as they need; each but the first takes 17 of what is above.
  struct Key {
    std::string css, text;
    bool area = false;
  };
  std::string Heading(const std::string& title, std::span<const Key> keys = {}) const;

 private:
  const Box box_;
  double x1_, y0_, y1_;
  double y_step_;
  int64_t first_tick_, last_tick_;  // y0_ and y1_, in steps
};

std::string EscapeXml(const std::string& text);

// Where the y axis of some curves has to reach; not finite values count for nothing.
struct Extent {
  double low = 0, high = 0;
  bool empty = true;
  void Add(double value);
  void Add(const Points& points);
};

// A running mean that is not biased towards its start, over about a fortieth of the run.
Points Smooth(const Points& points);
// At most a few points a pixel: a long run makes no larger picture.
Points Thin(const Points& points);

}  // namespace ds::tool
