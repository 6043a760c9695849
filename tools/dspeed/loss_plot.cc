#include "loss_plot.h"

#include <algorithm>
#include <cmath>

#include "mebibytes.h"
#include "svg_panel.h"

namespace ds::tool {
namespace {

constexpr double kTitleLetter = 8.6;  // pixels of one, in the widest fonts

// How the run was made stands last, behind the names of its texts, which may be long.
std::string Ending(const std::string& title, double letters) {
  const auto most = static_cast<size_t>(letters);
  if (title.size() <= most) return title;
  size_t begin = title.size() - (most - 3);
  while (begin < title.size() && (static_cast<unsigned char>(title[begin]) & 0xC0) == 0x80) ++begin;
  return "..." + title.substr(begin);
}

std::string Begin(double width, double height, double left, const std::string& title) {
  return fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0:.0f} {1:.0f}' width='{0:.0f}' "
      "height='{1:.0f}' font-family='sans-serif'>\n<style>.grid{{stroke:#e4e4e4}}"
      ".tick{{font-size:12px;fill:#555}}.name{{font-size:12px;font-weight:bold;fill:#333}}"
      "polyline{{fill:none;stroke-linejoin:round}}"
      ".raw{{stroke:#b8cdea;stroke-width:1}}.train{{stroke:#2a6fc9;stroke-width:2}}"
      ".val{{stroke:#d2601a;stroke-width:2}}.dot{{fill:#d2601a}}"
      ".lr{{stroke:#2b8a57;stroke-width:2}}"
      ".unigram{{stroke:#888;stroke-width:1.5;stroke-dasharray:6 4}}"
      // Six colours that are told apart without red and green (Okabe and Ito), softened.
      ".a0{{fill:#7fb3d9}}.a1{{fill:#f2b85c}}.a2{{fill:#6cbfa0}}.a3{{fill:#d79bbd}}"
      ".a4{{fill:#e0865a}}.a5{{fill:#c8c8c8}}</style>\n"
      "<rect width='100%' height='100%' fill='white'/>\n"
      "<text x='{2:.0f}' y='20' font-size='14' fill='#222'>{3}</text>\n",
      width, height, left, EscapeXml(Ending(title, (width - left) / kTitleLetter)));
}

Points Curve(std::span<const LogEntry> entries, double (*value)(const LogEntry&)) {
  Points points;
  for (const LogEntry& entry : entries) {
    if (const double y = value(entry); std::isfinite(y)) {
      points.emplace_back(static_cast<double>(entry.step), y);
    }
  }
  return points;
}

double LastStep(std::span<const LogEntry> entries) {
  return entries.empty() ? 1 : static_cast<double>(entries.back().step);
}

std::string LossPanel(std::span<const LogEntry> entries, const PlotOptions& options,
                      const Box& box) {
  const double entropy = options.unigram_entropy;
  const Points train = Curve(entries, [](const LogEntry& e) { return e.loss; });
  const Points validation =
      Curve(entries, [](const LogEntry& e) { return e.val_loss.value_or(std::nan("")); });
  Extent extent;
  extent.Add(train);
  extent.Add(validation);
  if (entropy > 0) extent.Add(entropy);
  const double x1 = LastStep(entries);
  const Panel panel(box, x1, extent.low, extent.high);
  std::string svg = panel.Frame("step");
  svg += panel.Line(Thin(train), "raw");
  svg += panel.Line(Thin(Smooth(train)), "train");
  svg += panel.Line(validation, "val") + panel.Dots(validation, "dot");
  if (entropy > 0) svg += panel.Line({{0, entropy}, {x1, entropy}}, "unigram");
  std::vector<Panel::Key> keys = {{"raw", "training"}, {"train", "its running mean"}};
  if (!validation.empty()) {
    keys.push_back({"val", fmt::format("validation {:.3f}", validation.back().second)});
  }
  if (entropy > 0) keys.push_back({"unigram", fmt::format("unigram entropy {:.3f}", entropy)});
  return svg + panel.Heading("loss, nats a " + options.unit, keys);
}

std::string LinePanel(std::span<const LogEntry> entries, const Box& box, const std::string& title,
                      double (*value)(const LogEntry&), const char* css, bool smooth) {
  const Points points = Curve(entries, value);
  Extent extent;
  extent.Add(0);
  extent.Add(points);
  const Panel panel(box, LastStep(entries), extent.low, extent.high);
  std::string svg = panel.Heading(title) + panel.Frame("step");
  if (smooth) svg += panel.Line(Thin(points), "raw");
  return svg + panel.Line(Thin(smooth ? Smooth(points) : points), css);
}

struct Layer {
  std::string name;
  double (*value)(const LogEntry&);
};

// Layers on top of one another, those that are nowhere above 0 left out.
std::string StackedPanel(std::span<const LogEntry> entries, const Box& box,
                         const std::string& title, std::span<const Layer> layers) {
  std::vector<Points> tops = {Thin(Curve(entries, [](const LogEntry&) { return 0.0; }))};
  std::vector<Panel::Key> keys;
  for (size_t i = 0; i < layers.size(); ++i) {
    Points layer = Smooth(Curve(entries, layers[i].value));
    layer = Thin(layer);
    Extent extent;
    extent.Add(layer);
    if (extent.high <= 0 || layer.size() != tops.back().size()) continue;
    for (size_t p = 0; p < layer.size(); ++p) layer[p].second += tops.back()[p].second;
    tops.push_back(std::move(layer));
    keys.push_back({fmt::format("a{}", i), layers[i].name, /*area=*/true});
  }
  Extent extent;
  extent.Add(0);
  extent.Add(tops.back());
  const Panel panel(box, LastStep(entries), 0, extent.high);
  std::string svg = panel.Frame("step");
  for (size_t i = 1; i < tops.size(); ++i) svg += panel.Area(tops[i - 1], tops[i], keys[i - 1].css);
  return svg + panel.Heading(title, keys);
}

template <device::MemoryKind kKind>
double MemoryMiB(const LogEntry& entry) {
  return MiB(entry.memory[static_cast<size_t>(kKind)]);
}

}  // namespace

std::string LossPlot(std::span<const LogEntry> entries, const PlotOptions& options) {
  constexpr Box kBox = {64, 48, 712, 360};
  return Begin(800, 460, kBox.left, options.title) + LossPanel(entries, options, kBox) + "</svg>\n";
}

std::string RunPlot(std::span<const LogEntry> entries, const PlotOptions& options) {
  constexpr double kLeft = 64, kRight = 584, kWide = 936, kHalf = 416;
  // The lower panels leave room for three rows of names.
  std::string svg = Begin(1024, 924, kLeft, options.title);
  // The first step warms up, and takes many times the others.
  const auto warm = entries.size() > 3 ? entries.subspan(1) : entries;
  svg += LossPanel(entries, options, {kLeft, 60, kWide, 300});
  svg += LinePanel(
      entries, {kLeft, 444, kHalf, 150}, "learning rate", [](const LogEntry& e) { return e.lr; },
      "lr", false);
  svg += LinePanel(
      warm, {kRight, 444, kHalf, 150}, "tokens a second",
      [](const LogEntry& e) { return e.tokens_per_second(); }, "train", true);
  const Layer phases[] = {
      {"compute", [](const LogEntry& e) { return std::max(0.0, e.ms - e.phases.sum()); }},
      {"gather", [](const LogEntry& e) { return e.phases.gather; }},
      {"reduce", [](const LogEntry& e) { return e.phases.reduce; }},
      {"norm", [](const LogEntry& e) { return e.phases.norm; }},
      {"update", [](const LogEntry& e) { return e.phases.update; }}};
  svg += StackedPanel(warm, {kLeft, 708, kHalf, 150}, "step, ms", phases);
  using enum device::MemoryKind;
  const Layer kinds[] = {
      {"weights", MemoryMiB<kWeights>}, {"gradients", MemoryMiB<kGradients>},
      {"master", MemoryMiB<kMaster>},   {"moments", MemoryMiB<kMoments>},
      {"windows", MemoryMiB<kWindows>}, {"activations, scratch", MemoryMiB<kScratch>}};
  svg += StackedPanel(entries, {kRight, 708, kHalf, 150}, "memory, MiB", kinds);
  return svg + "</svg>\n";
}

}  // namespace ds::tool
