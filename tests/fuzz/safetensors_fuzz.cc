// Any bytes as a file of safetensors: never a crash, and what is accepted lies within the file, end
// to end, and can be read.
#include <algorithm>
#include <cstdint>

#include "checkpoint/safetensors.h"
#include "fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ds::checkpoint;
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  auto reader = SafetensorsReader::Parse(bytes, "t");
  if (!reader.ok()) {
    Require(reader.status().code() == ds::Code::kCorruptData, "refused for another reason");
    Require(reader.status().message().starts_with("t: "), "refused without a name");
    return 0;
  }
  size_t sum = 0;
  const std::byte* at = nullptr;
  for (const TensorView& view : reader->tensors()) {
    const std::byte* const begin = view.bytes.data();
    Require(begin >= bytes.data() && begin + view.bytes.size() <= bytes.data() + size,
            "a tensor outside of the file");
    Require(at == nullptr || begin == at, "tensors that do not follow one another");
    at = begin + view.bytes.size();
    sum += view.bytes.size();
    Require(reader->Find(view.name) == &view, "a tensor that is not found by its name");
    int64_t numel = 1;
    for (const int64_t extent : view.shape) numel *= extent;
    Require(numel == view.numel(), "a shape of another size");
    std::vector<float> all(static_cast<size_t>(numel)), part(all.size() / 2);
    if (!CheckFloat(view).ok()) continue;
    Require(ReadAsFloat(view, 0, all).ok(), "a tensor that cannot be read");
    const size_t from = all.size() - part.size();
    Require(ReadAsFloat(view, static_cast<int64_t>(from), part).ok(), "a part that cannot be");
    const auto same = [](float a, float b) { return a == b || (a != a && b != b); };
    Require(
        std::equal(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(from), same),
        "a part that is not that of the whole");
  }
  Require(at == nullptr || at == bytes.data() + size, "bytes behind the tensors");
  Require(sum <= size, "more bytes than the file has");
  return 0;
}
