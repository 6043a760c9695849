// dspeed bench
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/json.h"
#include "comm/communicator.h"
#include "command.h"
#include "device/memory.h"
#include "engine/assembly.h"
#include "kernels/ops.h"
#include "matmul_speed.h"

namespace ds::tool {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchFlags {
  std::string folder;
  int threads = 0;
  double seconds = 0.3;
  bool json = false;
};

struct Row {
  std::string subject, what;
  double value;
  const char* unit;
};

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The least time of a run, of as many as fit; the first one only warms up.
template <typename Body>
double Fastest(double seconds, const Body& body) {
  body();
  double best = 1e30;
  const auto begin = Clock::now();
  for (int run = 0; run < 2 || Since(begin) < seconds; ++run) {
    const auto start = Clock::now();
    body();
    best = std::min(best, Since(start));
  }
  return best;
}

std::string Threads(int threads) {
  return fmt::format("{} {}", threads, threads == 1 ? "thread" : "threads");
}

// One thread, and all of them where there are more.
std::vector<int> ThreadCounts(int threads) {
  return threads > 1 ? std::vector{1, threads} : std::vector{1};
}

Result<device::Buffer> Scratch(device::MemoryAccount& account, int64_t bytes) {
  return device::Buffer::Create(account, device::MemoryKind::kScratch, bytes);
}

Status BenchCopy(const BenchFlags& flags, std::vector<Row>& rows) {
  constexpr int64_t kBytes = int64_t{64} << 20, kTile = 1 << 18;
  device::MemoryAccount account;
  DS_ASSIGN(const device::Buffer from, Scratch(account, kBytes));
  DS_ASSIGN(const device::Buffer to, Scratch(account, kBytes));
  for (const int threads : ThreadCounts(flags.threads)) {
    TaskPool pool(threads);
    const double seconds = Fastest(flags.seconds, [&] {
      pool.Run(kBytes / kTile, [&](int64_t tile, int) {
        std::memcpy(to.data() + tile * kTile, from.data() + tile * kTile, kTile);
      });
    });
    rows.push_back({"memory copy", Threads(threads), kBytes / seconds / 1e9, "GB/s"});
  }
  return {};
}

void BenchProducts(const BenchFlags& flags, std::vector<Row>& rows) {
  const auto gemm = CreateGemm();
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int threads : ThreadCounts(flags.threads)) {
      TaskPool pool(threads);
      const double flops = MatmulFlops(*gemm, pool, dtype, flags.seconds);
      rows.push_back({fmt::format("matrix product, {}", gemm->name()),
                      fmt::format("{}, {}", DTypeName(dtype), Threads(threads)), flops / 1e9,
                      "GFLOP/s"});
    }
  }
}

Status BenchOptimizer(const BenchFlags& flags, std::vector<Row>& rows) {
  constexpr int64_t kElements = int64_t{4} << 20;
  device::MemoryAccount account;
  std::vector<device::Buffer> arrays;
  for (int i = 0; i < 4; ++i) {
    DS_ASSIGN(device::Buffer array, Scratch(account, kElements * int64_t{sizeof(float)}));
    arrays.push_back(std::move(array));
  }
  float* const weights = arrays[1].as<float>().data();
  const kernels::AdamScalars scalars = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.1f, 1.0f, 1.0f, 1.0f, true};
  for (const int threads : ThreadCounts(flags.threads)) {
    TaskPool pool(threads);
    const double seconds = Fastest(flags.seconds, [&] {
      kernels::BestOps(DType::kF32)
          .adam(pool, kElements, scalars, arrays[0].data(), weights, arrays[2].as<float>().data(),
                arrays[3].as<float>().data(), weights);
    });
    rows.push_back(
        {"AdamW, fp32, 64 MiB", Threads(threads), kElements / seconds / 1e6, "M elements/s"});
  }
  return {};
}

// The bytes of the whole array that pass a rank in a second, as collectives are usually given.
Status BenchCollectives(int ranks, std::vector<Row>& rows) {
  constexpr int64_t kElements = int64_t{4} << 20;
  const int64_t part = kElements / ranks;
  const auto part_bytes = static_cast<size_t>(part) * sizeof(float);
  return comm::RunThreads(ranks, {.timeout_seconds = 60}, [&](comm::Communicator& comm) -> Status {
    std::vector<float> whole(static_cast<size_t>(kElements)), mine(static_cast<size_t>(part));
    const auto time = [&](const char* name, const auto& body) -> Status {
      double best = 1e30;
      for (int run = 0; run < 8; ++run) {  // as many on every rank
        DS_TRY(comm.Barrier("start"));
        const auto start = Clock::now();
        DS_TRY(body());
        DS_TRY(comm.Barrier("end"));
        best = std::min(best, Since(start));
      }
      if (comm.rank() == 0) {
        rows.push_back({fmt::format("collectives, {} ranks as threads", ranks), name,
                        kElements * sizeof(float) / best / 1e9, "GB/s"});
      }
      return {};
    };
    DS_TRY(time("all_gather, 16 MiB", [&] {
      return comm.AllGather("x", std::as_bytes(std::span(mine)),
                            std::as_writable_bytes(std::span(whole)).first(part_bytes * ranks));
    }));
    DS_TRY(time("reduce_scatter, 16 MiB", [&] {
      return comm.ReduceScatter("x", DType::kF32, 0.5f, whole.data(), mine.data(), part);
    }));
    return time("all_reduce, 16 MiB",
                [&] { return comm.AllReduce("x", DType::kF32, 0.5f, whole.data(), kElements); });
  });
}

// A file of the size of a small checkpoint: written and synced, dropped from memory, read. It has
// no name from the start, so that nothing is left of a run that is ended.
Status BenchFile(const BenchFlags& flags, std::vector<Row>& rows) {
  constexpr size_t kPiece = size_t{4} << 20, kPieces = 32;
  std::string path = flags.folder + "/.dspeed-bench-XXXXXX";
  std::vector<std::byte> piece(kPiece, std::byte{7});
  struct File {
    const int fd;
    ~File() { ::close(fd); }
  } file{::mkostemp(path.data(), O_CLOEXEC)};
  if (file.fd < 0) {
    return Error(Code::kIo, "{}: cannot create: {}", path, std::strerror(errno));
  }
  ::unlink(path.c_str());
  auto start = Clock::now();
  for (size_t left = kPieces * kPiece; left > 0;) {
    const ssize_t n = ::write(file.fd, piece.data(), std::min(left, kPiece));
    if (n < 0) {
      return Error(Code::kIo, "{}: cannot write: {}", flags.folder, std::strerror(errno));
    }
    left -= static_cast<size_t>(n);
  }
  if (::fsync(file.fd) != 0) {
    return Error(Code::kIo, "{}: cannot sync: {}", flags.folder, std::strerror(errno));
  }
  const double written = Since(start);
  (void)::posix_fadvise(file.fd, 0, 0, POSIX_FADV_DONTNEED);
  start = Clock::now();
  size_t bytes = 0;
  for (ssize_t n = 0;
       (n = ::pread(file.fd, piece.data(), kPiece, static_cast<off_t>(bytes))) > 0;) {
    bytes += static_cast<size_t>(n);
  }
  const double took = Since(start);
  if (bytes != kPiece * kPieces) {
    return Error(Code::kIo, "{}: {} bytes read, {} were written", flags.folder, bytes,
                 kPiece * kPieces);
  }
  rows.push_back(
      {"file, 128 MiB", "write and sync", static_cast<double>(bytes) / written / 1e9, "GB/s"});
  rows.push_back({"file, 128 MiB", "read", static_cast<double>(bytes) / took / 1e9, "GB/s"});
  return {};
}

void PrintJson(const std::vector<Row>& rows) {
  auto json = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    json.push_back(
        {{"subject", row.subject}, {"what", row.what}, {"value", row.value}, {"unit", row.unit}});
  }
  Say("{}\n", json.dump(2));
}

void PrintText(const std::vector<Row>& rows) {
  std::string_view subject;
  for (const Row& row : rows) {
    Say("{:<36}{:<24}{:>10.{}f} {}\n", row.subject == subject ? "" : row.subject, row.what,
        row.value, row.value < 100 ? 2 : 0, row.unit);
    subject = row.subject;
  }
}

Status Bench(BenchFlags flags) {
  if (flags.threads < 0 || flags.threads > 4096) {
    return InvalidArgument("--threads is {}, expected 0 to 4096", flags.threads);
  }
  if (!(flags.seconds > 0 && flags.seconds <= 60)) {
    return InvalidArgument("--seconds is {}, expected above 0 and up to 60", flags.seconds);
  }
  flags.threads = CpuThreads(flags.threads);
  std::vector<Row> rows;
  if (!flags.folder.empty()) {  // first, for it may not be writable
    if (!std::filesystem::is_directory(flags.folder)) {
      return Error(Code::kNotFound, "--dir {}: is no folder", flags.folder);
    }
    DS_TRY(BenchFile(flags, rows));
  }
  DS_TRY(BenchCopy(flags, rows));
  BenchProducts(flags, rows);
  DS_TRY(BenchOptimizer(flags, rows));
  for (const int ranks : {2, 4}) DS_TRY(BenchCollectives(ranks, rows));
  flags.json ? PrintJson(rows) : PrintText(rows);
  return {};
}

}  // namespace

void AddBench(CLI::App& app, Chosen& chosen) {
  const auto flags = std::make_shared<BenchFlags>();
  CLI::App& bench = *app.add_subcommand(
      "bench", "Measure this machine: memory, matrix products, optimizer, collectives, files");
  bench.add_option("--dir", flags->folder,
                   "A folder to write a file of 128 MiB to and read it back; default: none");
  bench.add_option("--seconds", flags->seconds, "For each measurement")->capture_default_str();
  bench.add_flag("--json", flags->json, "As JSON");
  bench.add_option("--threads", flags->threads, "CPU threads; 0: one a core")
      ->capture_default_str();
  bench.callback([&chosen, flags] { chosen = [flags] { return Bench(*flags); }; });
}

}  // namespace ds::tool
