#include "svg_panel.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/utf8.h"

namespace ds::tool {
namespace {

// 1, 2 or 5 times a power of ten, so that about `count` of them fill the range.
double TickStep(double range, double count) {
  const double rough = range / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

double YTicks(const Box& box) { return std::max(3.0, box.height / 60); }
double XTicks(const Box& box) { return std::max(4.0, box.width / 90); }

// With a suffix where the axis goes to many digits: of 2,000,000 this is 2M, of half of it 1M.
std::string TickText(double value, double most) {
  constexpr std::pair<double, const char*> kUnits[] = {{1e9, "G"}, {1e6, "M"}, {1e4, "k"}};
  for (const auto& [from, suffix] : kUnits) {
    if (most < from || most >= 1e12) continue;
    return value == 0 ? "0" : fmt::format("{:.6g}{}", value / (from == 1e4 ? 1e3 : from), suffix);
  }
  return fmt::format("{:.6g}", value);
}

// Of a letter, in the widest fonts that stand for sans-serif.
constexpr double kLetterWidth = 7.2, kBoldWidth = 8.2, kRow = 17;

double WidthOf(const Panel::Key& key) {
  return kLetterWidth * static_cast<double>(key.text.size()) + (key.area ? 30 : 38);
}

// Of the columns that the keys have in so many rows.
std::vector<double> Columns(std::span<const Panel::Key> keys, size_t rows) {
  std::vector<double> widths((keys.size() + rows - 1) / rows);
  for (size_t i = 0; i < keys.size(); ++i) {
    double& width = widths[i % widths.size()];
    width = std::max(width, WidthOf(keys[i]));
  }
  return widths;
}

std::string Mark(const Panel::Key& key, double x, double y) {
  const std::string mark =
      key.area
          ? fmt::format("<rect x='{:.0f}' y='{:.0f}' width='10' height='10' class='{}'/>", x, y - 9,
                        key.css)
          : fmt::format("<line x1='{0:.0f}' y1='{2:.0f}' x2='{1:.0f}' y2='{2:.0f}' class='{3}'/>",
                        x, x + 22, y - 4, key.css);
  return mark + fmt::format("<text x='{:.0f}' y='{:.0f}' class='tick'>{}</text>\n",
                            x + (key.area ? 14 : 27), y, EscapeXml(key.text));
}

std::string At(const Panel& panel, const Points& points) {
  std::string at;
  for (const auto& [x, y] : points) at += fmt::format("{:.1f},{:.1f} ", panel.X(x), panel.Y(y));
  return at;
}

}  // namespace

Panel::Panel(const Box& box, double x1, double y0, double y1)
    : box_(box), x1_(std::max(1.0, x1)), y0_(y0), y1_(y1) {
  if (!(y1_ > y0_)) y1_ = y0_ + (y0_ != 0 ? std::abs(y0_) : 1);
  y_step_ = TickStep(y1_ - y0_, YTicks(box_));
  // What is a tick but for its last bits needs no further one.
  first_tick_ = static_cast<int64_t>(std::floor(y0_ / y_step_ + 1e-6));
  last_tick_ = static_cast<int64_t>(std::ceil(y1_ / y_step_ - 1e-6));
  last_tick_ = std::max(last_tick_, first_tick_ + 1);
  y0_ = static_cast<double>(first_tick_) * y_step_;
  y1_ = static_cast<double>(last_tick_) * y_step_;
}

std::string Panel::Frame(const std::string& x_label) const {
  std::string svg;
  const double right = box_.left + box_.width, bottom = box_.top + box_.height;
  const double most = std::max(std::abs(y0_), std::abs(y1_));
  for (int64_t tick = first_tick_; tick <= last_tick_; ++tick) {
    const double y = static_cast<double>(tick) * y_step_;
    svg += fmt::format(
        "<line x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}' class='grid'/>"
        "<text x='{:.1f}' y='{:.1f}' class='tick' text-anchor='end'>{}</text>\n",
        box_.left, Y(y), right, Y(y), box_.left - 8, Y(y) + 4, TickText(y, most));
  }
  const double x_step = std::max(1.0, TickStep(x1_, XTicks(box_)));
  for (double x = 0; x <= x1_; x += x_step) {
    svg += fmt::format("<text x='{:.1f}' y='{:.1f}' class='tick' text-anchor='middle'>{}</text>\n",
                       X(x), bottom + 18, TickText(x, x1_));
  }
  svg += fmt::format("<text x='{:.1f}' y='{:.1f}' class='tick' text-anchor='middle'>{}</text>\n",
                     box_.left + box_.width / 2, bottom + 36, EscapeXml(x_label));
  return svg;
}

std::string Panel::Line(const Points& points, const std::string& css) const {
  if (points.empty()) return "";
  if (points.size() == 1) {  // a line of one point is nothing to see
    return fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='1.5' fill='none' class='{}'/>\n",
                       X(points[0].first), Y(points[0].second), css);
  }
  return fmt::format("<polyline class='{}' points='{}'/>\n", css, At(*this, points));
}

std::string Panel::Dots(const Points& points, const std::string& css) const {
  std::string svg;
  for (const auto& [x, y] : points) {
    svg += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='3' class='{}'/>\n", X(x), Y(y), css);
  }
  return svg;
}

std::string Panel::Area(const Points& lower, const Points& upper, const std::string& css) const {
  if (upper.empty()) return "";
  Points outline = upper;
  outline.insert(outline.end(), lower.rbegin(), lower.rend());
  if (upper.size() == 1) {  // a bar
    const double wide = 12 * x1_ / box_.width;
    outline.insert(outline.begin(), {upper[0].first - wide, upper[0].second});
    outline.emplace_back(lower[0].first - wide, lower[0].second);
  }
  return fmt::format("<polygon class='{}' points='{}'/>\n", css, At(*this, outline));
}

std::string Panel::Heading(const std::string& title, std::span<const Key> keys) const {
  const double room = box_.width - kBoldWidth * static_cast<double>(title.size()) - 16;
  // As few rows as will do, their columns below one another.
  size_t rows = 1;
  std::vector<double> widths = Columns(keys, rows);
  while (std::accumulate(widths.begin(), widths.end(), 0.0) > room && rows < keys.size()) {
    widths = Columns(keys, ++rows);
  }
  const double first = box_.top - 10 - kRow * static_cast<double>(rows - 1);
  std::string svg = fmt::format("<text x='{:.1f}' y='{:.1f}' class='name'>{}</text>\n", box_.left,
                                first, EscapeXml(title));
  const double left = box_.left + box_.width - std::accumulate(widths.begin(), widths.end(), 0.0);
  for (size_t i = 0; i < keys.size(); ++i) {
    const size_t column = i % widths.size(), row = i / widths.size();
    const auto before = widths.begin() + static_cast<ptrdiff_t>(column);
    svg += Mark(keys[i], std::accumulate(widths.begin(), before, left),
                first + kRow * static_cast<double>(row));
  }
  return svg;
}

std::string EscapeXml(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const auto [value, bytes] = ReadUtf8(text, at);
    // XML has no way to say the others, not by their number either.
    const bool known = value != kNotUtf8 && value != 0xFFFE && value != 0xFFFF &&
                       (value >= 0x20 || value == '\t' || value == '\n' || value == '\r');
    if (!known)
      AppendUtf8(0xFFFD, out);
    else if (value == '&')
      out += "&amp;";
    else if (value == '<')
      out += "&lt;";
    else if (value == '>')
      out += "&gt;";
    else
      out.append(text, at, bytes);
    at += bytes;
  }
  return out;
}

void Extent::Add(double value) {
  if (!std::isfinite(value)) return;
  low = empty ? value : std::min(low, value);
  high = empty ? value : std::max(high, value);
  empty = false;
}

void Extent::Add(const Points& points) {
  for (const auto& [x, y] : points) Add(y);
}

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

Points Thin(const Points& points) {
  const size_t every = points.size() / 2000 + 1;
  Points out;
  for (size_t i = 0; i < points.size(); i += every) out.push_back(points[i]);
  return out;
}

}  // namespace ds::tool
