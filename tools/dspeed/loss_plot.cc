#include "loss_plot.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace ds::tool {
namespace {

constexpr double kWidth = 800, kHeight = 460;
constexpr double kLeft = 64, kRight = 24, kTop = 48, kBottom = 52;

using Points = std::vector<std::pair<double, double>>;

// 1, 2 or 5 times a power of ten, so that about `count` of them fill the range.
double TickStep(double range, int count) {
  const double rough = range / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

struct Axes {
  double x0, x1, y0, y1;
  double X(double x) const { return kLeft + (x - x0) / (x1 - x0) * (kWidth - kLeft - kRight); }
  double Y(double y) const {
    return kHeight - kBottom - (y - y0) / (y1 - y0) * (kHeight - kTop - kBottom);
  }
};

std::string Escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out += c;
  }
  return out;
}

Axes Fit(const Points& train, const Points& validation, double entropy) {
  Axes axes{0, 1, std::numeric_limits<double>::infinity(), 0};
  for (const Points* points : {&train, &validation}) {
    for (const auto& [x, y] : *points) {
      axes.x1 = std::max(axes.x1, x);
      axes.y0 = std::min(axes.y0, y);
      axes.y1 = std::max(axes.y1, y);
    }
  }
  if (entropy > 0) axes.y1 = std::max(axes.y1, entropy);
  if (!std::isfinite(axes.y0)) axes.y0 = 0;
  if (axes.y1 <= axes.y0) axes.y1 = axes.y0 + 1;
  const double step = TickStep(axes.y1 - axes.y0, 6);
  axes.y0 = std::floor(axes.y0 / step) * step;
  axes.y1 = std::ceil(axes.y1 / step) * step;
  return axes;
}

std::string Grid(const Axes& axes) {
  std::string svg;
  const double y_step = TickStep(axes.y1 - axes.y0, 6);
  for (double y = axes.y0; y <= axes.y1 + y_step / 2; y += y_step) {
    svg += fmt::format(
        "<line x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}' class='grid'/>"
        "<text x='{:.1f}' y='{:.1f}' class='tick' text-anchor='end'>{:.4g}</text>\n",
        kLeft, axes.Y(y), kWidth - kRight, axes.Y(y), kLeft - 8, axes.Y(y) + 4, y);
  }
  const double x_step = std::max(1.0, TickStep(axes.x1 - axes.x0, 8));
  for (double x = axes.x0; x <= axes.x1; x += x_step) {
    svg +=
        fmt::format("<text x='{:.1f}' y='{:.1f}' class='tick' text-anchor='middle'>{:.6g}</text>\n",
                    axes.X(x), kHeight - kBottom + 20, x);
  }
  svg += fmt::format(
      "<text x='{:.1f}' y='{:.1f}' class='tick' text-anchor='middle'>step</text>\n"
      "<text x='{:.1f}' y='{:.1f}' class='tick'>loss, nats a token</text>\n",
      (kLeft + kWidth - kRight) / 2, kHeight - 12, kLeft, kTop - 10);
  return svg;
}

std::string Line(const Axes& axes, const Points& points, const char* css) {
  if (points.empty()) return "";
  std::string at;
  for (const auto& [x, y] : points) at += fmt::format("{:.1f},{:.1f} ", axes.X(x), axes.Y(y));
  return fmt::format("<polyline class='{}' points='{}'/>\n", css, at);
}

// A running mean that is not biased towards its start, over about a fortieth of the run.
Points Smooth(const Points& points) {
  const double keep = 1.0 - 1.0 / std::max(2.0, static_cast<double>(points.size()) / 40);
  Points out;
  double sum = 0, weight = 0;
  for (const auto& [x, y] : points) {
    sum = keep * sum + y;
    weight = keep * weight + 1;
    out.emplace_back(x, sum / weight);
  }
  return out;
}

// At most a few points a pixel: a long run makes no larger picture.
Points Thin(const Points& points) {
  const size_t every = points.size() / 2000 + 1;
  Points out;
  for (size_t i = 0; i < points.size(); i += every) out.push_back(points[i]);
  return out;
}

std::string Legend(const Points& validation, double entropy) {
  std::string svg;
  double x = kWidth - kRight - 10;
  const auto add = [&](const char* css, const std::string& text) {
    x -= 7.0 * static_cast<double>(text.size()) + 40;
    svg += fmt::format(
        "<line x1='{:.0f}' y1='{:.0f}' x2='{:.0f}' y2='{:.0f}' class='{}'/>"
        "<text x='{:.0f}' y='{:.0f}' class='tick'>{}</text>\n",
        x, kTop - 14, x + 22, kTop - 14, css, x + 28, kTop - 10, text);
  };
  if (entropy > 0) add("unigram", fmt::format("unigram entropy {:.3f}", entropy));
  if (!validation.empty()) add("val", fmt::format("validation {:.3f}", validation.back().second));
  add("train", "training");
  return svg;
}

}  // namespace

std::string LossPlot(std::span<const LogEntry> entries, const PlotOptions& options) {
  Points train, validation;
  for (const LogEntry& entry : entries) {
    const auto x = static_cast<double>(entry.step);
    if (std::isfinite(entry.loss)) train.emplace_back(x, entry.loss);
    if (entry.val_loss.has_value() && std::isfinite(*entry.val_loss)) {
      validation.emplace_back(x, *entry.val_loss);
    }
  }
  const double entropy = options.unigram_entropy;
  const Axes axes = Fit(train, validation, entropy);
  std::string svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0:.0f} {1:.0f}' width='{0:.0f}' "
      "height='{1:.0f}' font-family='sans-serif'>\n<style>.grid{{stroke:#e4e4e4}}"
      ".tick{{font-size:12px;fill:#555}}polyline{{fill:none;stroke-linejoin:round}}"
      ".raw{{stroke:#b8cdea;stroke-width:1}}.train{{stroke:#2a6fc9;stroke-width:2}}"
      ".val{{stroke:#d2601a;stroke-width:2}}.dot{{fill:#d2601a}}"
      ".unigram{{stroke:#888;stroke-width:1.5;stroke-dasharray:6 4}}</style>\n"
      "<rect width='100%' height='100%' fill='white'/>\n"
      "<text x='{2:.0f}' y='20' font-size='14' fill='#222'>{3}</text>\n",
      kWidth, kHeight, kLeft, Escape(options.title));
  svg += Grid(axes);
  svg += Line(axes, Thin(train), "raw");
  svg += Line(axes, Thin(Smooth(train)), "train");
  svg += Line(axes, validation, "val");
  for (const auto& [x, y] : validation) {
    svg +=
        fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='3' class='dot'/>\n", axes.X(x), axes.Y(y));
  }
  if (entropy > 0) svg += Line(axes, {{axes.x0, entropy}, {axes.x1, entropy}}, "unigram");
  return svg + Legend(validation, entropy) + "</svg>\n";
}

}  // namespace ds::tool
