// What a rank reads of the values that parameters start with: those of its own slices, a piece at a
// time, and never a whole parameter in fp32.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>

#include "checkpoint/hf_folder.h"
#include "counting_malloc.h"
#include "engine/assembly.h"
#include "infer/model_folder.h"
#include "model/decoder.h"
#include "support/golden.h"
#include "toy.h"

namespace ds {
namespace {

// Counts what the store behind it asks for.
class CountingStore final : public ParamStore {
 public:
  explicit CountingStore(ParamStore& inner) : inner_(inner) {}

  DType dtype() const override { return inner_.dtype(); }
  Result<ParamId> Register(ParamSpec spec, ParamValues values) override {
    elements += spec.numel();
    const ParamValues counted(
        values.size(),
        [this, values](int64_t begin, std::span<float> out) {
          asked += static_cast<int64_t>(out.size());
          return values.Write(begin, out);
        },
        values.digest());
    return inner_.Register(std::move(spec), counted);
  }
  Result<const void*> Acquire(ParamId id) override { return inner_.Acquire(id); }
  Status Release(ParamId id) override { return inner_.Release(id); }
  Status AddGrad(ParamId id, DType dtype, const void* grad) override {
    return inner_.AddGrad(id, dtype, grad);
  }
  Result<GradView> BeginGrad(ParamId id) override { return inner_.BeginGrad(id); }
  Status EndGrad(ParamId id) override { return inner_.EndGrad(id); }

  int64_t elements = 0, asked = 0;

 private:
  ParamStore& inner_;
};

class Loading : public testing::TestWithParam<std::tuple<int, int, DType>> {};

TEST_P(Loading, ARankReadsItsOwnSlices) {
  const auto [stage, world, dtype] = GetParam();
  const std::string folder = test::GoldenPath("hf/llama");
  const std::string text =
      fmt::format(R"({{"bf16": {{"enabled": {}}}, "zero_optimization": {{"stage": {}}}}})",
                  dtype == DType::kBF16, stage);
  TaskPool pool(1);
  const auto gemm = CreateGemm();
  std::atomic<int64_t> asked = 0, elements = 0;
  const auto body = [&, stage = stage, dtype = dtype](comm::Communicator& comm) -> Status {
    DS_ASSIGN(const EngineConfig config, ParseConfig(text, comm.size()));
    DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
    DS_ASSIGN(const model::HfConfig hf, infer::ReadModelConfig(folder));
    DS_ASSIGN(const auto model,
              model::Decoder::Create(hf.config, {}, pool, *gemm, engine->memory()));
    CountingStore store(engine->store());
    DS_TRY(infer::LoadModel(folder, *model, store));
    DS_TRY(engine->Seal());
    asked += store.asked;
    elements = store.elements;
    if (stage < 3) {
      EXPECT_EQ(store.asked, store.elements);
    }
    // What was read is what the file has.
    auto file = checkpoint::HfFolder::Open(folder, std::string(model->name_prefix()));
    for (const model::Param* param : model->params()) {
      const size_t n = static_cast<size_t>(param->spec.numel());
      std::vector<float> want(n), got(n);
      DS_ASSIGN(const auto tensor, file->Take(param->spec.name, param->spec.shape));
      DS_TRY(ReadAsFloat(tensor, 0, want));
      DS_TRY(engine->store().ReadMaster(param->id, got));
      EXPECT_EQ(got, want) << param->spec.name;
      DS_ASSIGN(const void* weights, engine->store().Acquire(param->id));
      for (size_t i = 0; i < n; ++i) {
        if (dtype == DType::kBF16) {
          const auto rounded = static_cast<float>(static_cast<const BF16*>(weights)[i]);
          EXPECT_EQ(rounded, static_cast<float>(BF16(want[i])));
        } else {
          EXPECT_EQ(static_cast<const float*>(weights)[i], want[i]);
        }
      }
      DS_TRY(engine->store().Release(param->id));
    }
    return {};
  };
  const Status status = comm::RunThreads(world, {.timeout_seconds = 60}, body);
  EXPECT_TRUE(status.ok()) << status.message();
  // At stage 3 each element is read by one rank, and by all of them below it.
  EXPECT_EQ(asked, elements * (stage == 3 ? 1 : world));
}

INSTANTIATE_TEST_SUITE_P(World, Loading,
                         testing::Combine(testing::Values(1, 3), testing::Values(1, 3),
                                          testing::Values(DType::kF32, DType::kBF16)));

// Of parameters that are many pieces long no rank ever holds more than its state and a piece.
TEST(Loading, APieceIsAllThatIsHeldBesideTheState) {
  constexpr int kWorld = 2;
  constexpr int64_t kElements = 5 * zero::Unit::kPiece + 77;
  for (const bool bf16 : {false, true}) {
    const std::string text =
        fmt::format(R"({{"bf16": {{"enabled": {}}}, "optimizer": {{"type": "SGD"}},
                         "zero_optimization": {{"stage": 3}}}})",
                    bf16);
    TaskPool pool(1);
    std::mutex mutex;
    int64_t before = 0, peak = 0, longest = 0, asked = 0;
    std::atomic<int64_t> booked = 0;
    const auto body = [&](comm::Communicator& comm) -> Status {
      DS_TRY(comm.Barrier("before"));
      if (comm.rank() == 0) before = test::BytesInUse();
      DS_TRY(comm.Barrier("counted"));
      DS_ASSIGN(const EngineConfig config, ParseConfig(text, kWorld));
      DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
      const auto fill = [&](int64_t begin, std::span<float> out) -> Status {
        for (size_t i = 0; i < out.size(); ++i) {
          out[i] = static_cast<float>((begin + static_cast<int64_t>(i)) % 251);
        }
        const std::lock_guard lock(mutex);
        peak = std::max(peak, test::BytesInUse());
        longest = std::max(longest, static_cast<int64_t>(out.size()));
        asked += static_cast<int64_t>(out.size());
        return {};
      };
      DS_TRY(engine->store().Register({"w", {kElements}, "w"}, {kElements, fill, 1}).status());
      DS_TRY(engine->Seal());
      booked += engine->memory().total();
      DS_TRY(comm.Barrier("sealed"));
      std::vector<float> got(kElements);
      DS_TRY(engine->store().ReadMaster(0, got));
      for (int64_t i = 0; i < kElements; i += 97) {
        EXPECT_EQ(got[static_cast<size_t>(i)], static_cast<float>(i % 251));
      }
      return {};
    };
    const Status status = comm::RunThreads(kWorld, {.timeout_seconds = 60}, body);
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_LE(longest, zero::Unit::kPiece);
    EXPECT_EQ(asked, kElements);
    if (!DS_COUNTS_MALLOC) continue;  // a sanitizer has its own allocator
    const int64_t pieces = bf16 ? kWorld * 4 * zero::Unit::kPiece : 0;
    const int64_t pages = kWorld * 3 * (int64_t{2} << 20);  // arrays end with a page, a huge one
    EXPECT_LE(peak - before, booked + pieces + pages + (kWorld * 64 << 10)) << bf16;
    EXPECT_GE(peak - before, booked / 2);  // it was counted at all
  }
}

}  // namespace
}  // namespace ds
