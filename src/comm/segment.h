// Memory that several processes of one host map.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/status.h"

namespace ds::comm {

class Segment {
 public:
  // All zero, under a name that no other has. It is there for others to open until Unlink().
  static Result<std::shared_ptr<Segment>> Create(size_t bytes);
  static Result<std::shared_ptr<Segment>> Open(const std::string& name, size_t bytes);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // Who has it mapped keeps it.
  void Unlink();

  const std::string& name() const { return name_; }
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Segment(std::string name, size_t bytes, bool made)
      : name_(std::move(name)), bytes_(bytes), linked_(made) {}
  Status Map(int file);

  const std::string name_;
  const size_t bytes_;
  bool linked_;  // under our name
  std::byte* data_ = nullptr;
};

}  // namespace ds::comm
