// How ranks that have messages only tell each other that a first group, and all that comes from it,
// is over: apart from what the groups say, for a rank may wait in any of them.
#pragma once

#include <memory>
#include <vector>

#include "comm/fate.h"
#include "comm/wire.h"

namespace ds::comm {

class Alarm {
 public:
  Alarm(std::shared_ptr<Wire> wire, std::shared_ptr<Fate> fate);
  ~Alarm();
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

  // Tells all, and ends what is here.
  void Ring(int rank, const Status& why);
  // Whether another rank rang.
  void Listen();

 private:
  struct Message {
    int32_t code = 0, rank = 0;
    char text[2000] = "";
  };
  struct Ear {
    void* request = nullptr;
    Message message;
  };

  const std::shared_ptr<Wire> wire_;
  const std::shared_ptr<Fate> fate_;
  std::mutex mutex_;                        // guards what follows
  std::unique_ptr<std::vector<Ear>> ears_;  // by rank
};

}  // namespace ds::comm
