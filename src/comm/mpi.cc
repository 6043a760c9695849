// The library's side of libdeepspeed_mpi.so: brings the processes of a job together.
#include "comm/mpi_module.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/library.h"
#include "base/log.h"
#include "comm/arguments.h"
#include "comm/shared_stage.h"
#include "comm/wire.h"
#include "comm/wire_stage.h"

namespace ds::comm {
namespace {

constexpr char kModule[] = "libdeepspeed_mpi.so";

Result<const ds_mpi_module*> Load() {
  DS_ASSIGN(void* handle, LoadModule(kModule));
  DS_ASSIGN(void* entry, FindSymbol(handle, kModule, DS_MPI_ENTRY));
  const ds_mpi_module* module = reinterpret_cast<ds_mpi_entry_fn>(entry)();
  if (module->version != DS_MPI_MODULE_VERSION) {
    return Error(Code::kUnsupported, "{} has interface version {}, expected {}", kModule,
                 module->version, DS_MPI_MODULE_VERSION);
  }
  return module;
}

Result<const ds_mpi_module*> Module() {
  static const Result<const ds_mpi_module*> loaded = Load();
  return loaded;
}

// What a process tells the others of itself.
struct Card {
  char host[256] = "";  // equal: they can share memory and see each other's processes
  ProcessId id;
  device::SharedHeapId heap;  // of no process: there is none
};

// `heap`: null without.
Card CardOfThis(const device::SharedHeap* heap) {
  Card card;
  if (heap != nullptr) card.heap = heap->id();
  char boot[64] = "", name[64] = "";
  if (std::FILE* file = std::fopen("/proc/sys/kernel/random/boot_id", "re")) {
    if (std::fscanf(file, "%63s", boot) != 1) boot[0] = '\0';
    std::fclose(file);
  }
  gethostname(name, sizeof name - 1);
  struct stat memory = {}, processes = {};
  stat("/dev/shm", &memory);
  stat("/proc/self/ns/pid", &processes);
  std::snprintf(card.host, sizeof card.host, "%s %s %llx %llx %u", name, boot,
                static_cast<unsigned long long>(memory.st_dev),
                static_cast<unsigned long long>(processes.st_ino), getuid());
  card.id = ProcessId::OfThis();
  return card;
}

// What rank 0 says of the memory it made, and the others of having mapped it.
struct Word {
  int32_t code = 0;
  char text[400] = "";

  void Set(const Status& status) {
    code = static_cast<int32_t>(status.code());
    status.message().copy(text, sizeof text - 1);
  }
  Status status() const { return {static_cast<Code>(code), text}; }
};

// Rank 0 makes the memory, the others map it, and all learn whether all did.
Result<std::shared_ptr<Segment>> ShareMemory(Wire& wire, const std::vector<Card>& cards) {
  std::shared_ptr<Segment> segment;
  Word mine;
  if (wire.rank() == 0) {
    if (auto made = CreateSharedSegment(wire.size()); made.ok()) {
      segment = std::move(made).Take();
      for (int r = 0; r < wire.size(); ++r) SetProcess(*segment, r, cards[r].id);
      segment->name().copy(mine.text, sizeof mine.text - 1);
    } else {
      mine.Set(made.status());
    }
  }
  std::vector<Word> all;
  DS_TRY(wire.ExchangeEach("shared memory", mine, all));
  DS_TRY(all[0].status());
  if (wire.rank() != 0) {
    auto opened = Segment::Open(all[0].text, SharedStageBytes(wire.size()));
    if (!opened.ok()) mine.Set(opened.status());
    if (opened.ok()) segment = std::move(opened).Take();
  }
  DS_TRY(wire.ExchangeEach("shared memory", mine, all));
  if (wire.rank() == 0) segment->Unlink();
  for (int r = 1; r < wire.size(); ++r) {
    if (const Status status = all[r].status(); !status.ok()) {
      return Error(status.code(), "rank {}: {}", r, status.message());
    }
  }
  return segment;
}

using Views = std::vector<std::unique_ptr<device::SharedHeapView>>;

// The heaps of all others, where every rank could map those of all others; else null: bytes are
// then copied once more.
Result<std::shared_ptr<const Views>> ShareHeaps(Wire& wire, const std::vector<Card>& cards) {
  auto views = std::make_shared<Views>(wire.size());
  Word mine;
  for (int r = 0; r < wire.size() && mine.status().ok(); ++r) {
    if (cards[r].heap.process == 0) mine.Set(Error(Code::kUnsupported, "it has none"));
    if (cards[r].heap.process == 0 || r == wire.rank()) continue;
    auto opened = device::SharedHeapView::Open(cards[r].heap);
    if (!opened.ok()) mine.Set(opened.status());
    if (opened.ok()) (*views)[r] = std::move(opened).Take();
  }
  std::vector<Word> all;
  DS_TRY(wire.ExchangeEach("memory of the ranks", mine, all));
  for (int r = 0; r < wire.size(); ++r) {
    if (all[r].status().ok()) continue;
    Log(LogLevel::kInfo, "comm", "ranks copy what they could read in place: rank {}: {}", r,
        all[r].text);
    return std::shared_ptr<const Views>();
  }
  return std::shared_ptr<const Views>(std::move(views));
}

// DS_MPI_SHARED=0, alike on all ranks: as if each were on a host of its own.
bool OnOneHost(const std::vector<Card>& cards) {
  const char* shared = std::getenv("DS_MPI_SHARED");
  if (shared != nullptr && std::strcmp(shared, "0") == 0) return false;
  return std::all_of(cards.begin(), cards.end(),
                     [&](const Card& card) { return std::strcmp(card.host, cards[0].host) == 0; });
}

Result<std::unique_ptr<Communicator>> CreateOverWire(const std::shared_ptr<Wire>& wire,
                                                     const std::vector<Card>& cards) {
  if (!wire->serves_threads()) {
    return Error(Code::kUnsupported,
                 "ranks on several hosts need MPI_THREAD_SERIALIZED or MPI_THREAD_MULTIPLE; start "
                 "MPI with MPI_Init_thread");
  }
  WireGroup group = {.wire = wire,
                     .alarm = nullptr,
                     .fate = std::make_shared<Fate>(),
                     .origin = nullptr,
                     .members = {},
                     .processes = {},
                     .rank = wire->rank()};
  group.alarm = std::make_shared<Alarm>(wire, group.fate);
  for (int r = 0; r < wire->size(); ++r) {
    const bool near = std::strcmp(cards[r].host, cards[wire->rank()].host) == 0;
    group.members.push_back(r);
    group.processes.push_back(near ? cards[r].id : ProcessId{});
  }
  return CreateStaged(CreateWireStage(std::move(group)));
}

}  // namespace

Result<std::string> DescribeMpi() {
  DS_ASSIGN(const ds_mpi_module* module, Module());
  return std::string(module->describe());
}

Result<std::unique_ptr<Communicator>> CreateMpi(const Options& options, const void* mpi_comm) {
  DS_TRY(CheckTimeout(options.timeout_seconds));
  DS_ASSIGN(const ds_mpi_module* module, Module());
  DS_ASSIGN(const auto wire, Wire::Open(*module, mpi_comm, options.timeout_seconds));
  std::vector<Card> cards;
  auto heap = device::SharedHeap::OfProcess(wire->size());
  DS_TRY(wire->ExchangeEach("host", CardOfThis(heap.ok() ? *heap : nullptr), cards));
  if (!OnOneHost(cards)) return CreateOverWire(wire, cards);
  DS_ASSIGN(auto segment, ShareMemory(*wire, cards));
  DS_ASSIGN(auto views, ShareHeaps(*wire, cards));
  return CreateStaged(CreateSharedStage({.segment = std::move(segment),
                                         .origin = nullptr,
                                         .fate = nullptr,
                                         .timeout_seconds = options.timeout_seconds,
                                         .backend = "mpi",
                                         .heap = views == nullptr ? nullptr : *heap,
                                         .views = std::move(views),
                                         .when_broken = [wire] { wire->SetUnhealthy(); }},
                                        wire->rank()));
}

}  // namespace ds::comm
