// What a run that ended early needs to go on: the state that a StateSource offers, one file a rank,
// and a manifest. The manifest is replaced last and names the files, so a folder holds one whole
// state or none, wherever the writer was killed.
//
//   run.json                           {"format": 1, "step": 40, "world": 2, "facts": {...}}
//   step-40.slice-0-of-2.safetensors   one slice of each array, with a checksum of each
//
// Slices are cut by ShardLayout, so a state is read under any world size and any placement. Which
// rank has which slice is its owner's matter; a rank's slices of all arrays have one number.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "param/param.h"

namespace ds::checkpoint {

// NOLINTNEXTLINE(bugprone-exception-escape): moving a Json throws nothing, whatever it looks like
struct RunManifest {
  int64_t step = 0;  // names the files
  int world = 1;     // ranks that wrote them
  Json facts;        // the caller's: counters, and what has to be alike to go on
};

// Every rank, its own slices; makes the folder. Nothing that a manifest names is touched.
Status WriteRunSlices(const std::string& folder, int64_t step, int rank, int world,
                      StateSource& source);
// One rank, after all have written: from now on the folder holds this state. Removes the files of
// others.
Status CommitRun(const std::string& folder, const RunManifest& manifest);

// Nothing: the folder holds no state. kCorruptData: it holds one that cannot be read.
Result<std::optional<RunManifest>> ReadRunManifest(const std::string& folder);
// Fills the pieces of `source`. The arrays must be the same ones, by name and size.
Status ReadRunSlices(const std::string& folder, const RunManifest& manifest, StateSource& source);

}  // namespace ds::checkpoint
