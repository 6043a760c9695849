// Clipping against DeepSpeed's own (tests/golden/clip_norm.json).
#include "optim/clip.h"

#include <cmath>

#include "kernels/ops.h"
#include "rig.h"

namespace ds::optim {
namespace {

std::vector<float> Flat(const Json& tensors) {
  std::vector<float> flat;
  for (const Json& tensor : tensors) {
    const auto part = Floats(tensor);
    flat.insert(flat.end(), part.begin(), part.end());
  }
  return flat;
}

// Gradients are multiplied in fp32; the table has each product rounded once or twice.
void ExpectClipped(const Json& row, double factor) {
  const auto grads = Flat(row["grads"]), want = Flat(row["grads_after"]);
  ASSERT_EQ(grads.size(), want.size());
  for (size_t i = 0; i < grads.size(); ++i) {
    const float got = grads[i] * static_cast<float>(factor);
    ASSERT_NEAR(got, want[i], 3e-7 * std::abs(want[i]) + 1e-45) << i;
  }
}

TEST(GoldenClip, MultipliesAsDeepSpeedDoes) {
  TaskPool pool(1);
  int clipped = 0, skipped = 0, norms = 0;
  for (const Json& row : GoldenCases("clip_norm.json")) {
    SCOPED_TRACE(row["id"].get<std::string>());
    const std::string kind = row["kind"];
    if (kind == "global_norm") continue;
    // A norm that is not finite skips the step here, whatever the helper would have done.
    const double norm = Number(row["norm"]);
    const auto grads = Flat(row["grads"]);
    if (row.value("norm_type", Json(2)) == 2 && !IsInvalidNorm(norm)) {
      const double sum = kernels::SumOfSquares(kernels::BestOps(DType::kF32), pool,
                                               static_cast<int64_t>(grads.size()), grads.data());
      // The table's norms are rounded to fp32 and their squares were summed there: what is below
      // 4e-23, the root of the smallest fp32, vanished. Here it does not.
      EXPECT_NEAR(std::sqrt(sum), norm, 2e-7 * norm + 4e-23);
      ++norms;
    }
    if (IsInvalidNorm(norm)) {
      EXPECT_TRUE(row.value("skipped", true));
      ++skipped;
      continue;
    }
    const double top = row["max_norm"];
    if (kind == "engine" || kind == "bf16_optimizer") {
      ExpectClipped(row, ClipFactor(norm, top));
    } else {
      ExpectClipped(row, UnscaleAndClipFactor(norm, top, row["loss_scale"]));
      if (row.contains("combined_scale")) {
        EXPECT_NEAR(1 / UnscaleAndClipFactor(norm, top, row["loss_scale"]),
                    Number(row["combined_scale"]), 1e-12 * Number(row["combined_scale"]));
      }
    }
    if (HasFatalFailure()) return;
    ++clipped;
  }
  EXPECT_GT(clipped, 100);
  EXPECT_GT(skipped, 50);
  EXPECT_GT(norms, 100);
}

TEST(GoldenClip, CombinesNormsAsDeepSpeedDoes) {
  int compared = 0;
  for (const Json& row : GoldenCases("clip_norm.json")) {
    if (row["kind"] != "global_norm") continue;
    std::vector<double> norms;
    for (const Json& norm : row["norms"]) norms.push_back(Number(norm));
    ++compared;
    if (row["norm"].is_object()) {  // Python's ** overflows; a norm of that size is a number
      EXPECT_NEAR(GlobalNorm(norms), std::sqrt(2.0) * 1e200, 1e185);
      continue;
    }
    const double want = Number(row["norm"]);
    if (std::isinf(want)) {
      EXPECT_EQ(GlobalNorm(norms), want) << row["id"];
    } else {
      EXPECT_NEAR(GlobalNorm(norms), want, 1e-14 * want) << row["id"];
    }
  }
  EXPECT_GE(compared, 9);
}

}  // namespace
}  // namespace ds::optim
