// What a run that ended early needs to go on: the state that a StateSource offers, one file a rank,
// and a manifest. The manifest is replaced last and names the files, so a folder holds one whole
// state or none, wherever the writer was killed.
//
//   run.json                                  {"format": 3, "step": 40, "save": 3, "world": 2,
//                                              "slices": [...], "facts": {...}, "checksum": ...}
//   step-40.save-3.slice-0-of-2.safetensors   one slice of each array, with a checksum of each
//
// The manifest has a digest of each slice's checksums and a checksum of itself: slices of another
// save under these names, or in another order, are no state of this run.
//
// Saves are counted: another run that comes to the same step in the same folder writes beside the
// files that the manifest names, not over them.
//
// Slices are cut by ShardLayout, so a state is read under any world size and any placement. Which
// rank has which slice is its owner's matter; a rank's slices of all arrays have one number.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "param/param.h"

namespace ds::checkpoint {

// NOLINTNEXTLINE(bugprone-exception-escape): moving a Json throws nothing, whatever it looks like
struct RunManifest {
  // These three name the files.
  int64_t step = 0;
  int64_t save = 1;                 // of NextSave
  int world = 1;                    // ranks that wrote them
  std::vector<std::string> slices;  // what each has; none: a state of format 2, which did not say
  Json facts;                       // the caller's: counters, and what has to be alike to go on
};

// The number of a save into this folder, before its slices are written: one rank asks, and tells
// the others.
Result<int64_t> NextSave(const std::string& folder);
// Every rank, its own slices; makes the folder. Nothing that the manifest in force names is
// touched. The facts are not looked at.
Status WriteRunSlices(const std::string& folder, const RunManifest& manifest, int rank,
                      StateSource& source);
// One rank, after all have written: whether it sees the slices of all of them; notes what they
// have.
Status CheckRunSlices(const std::string& folder, RunManifest& manifest);
// One rank, after that: from now on the folder holds this state. Removes the files of
// others.
Status CommitRun(const std::string& folder, const RunManifest& manifest);

// What a save that came to no end left behind the manifest in force; one rank, while nobody saves.
Status RemoveUncommitted(const std::string& folder);

// Nothing: the folder holds no state. kCorruptData: it holds one that cannot be read.
Result<std::optional<RunManifest>> ReadRunManifest(const std::string& folder);
// Fills the pieces of `source`. The arrays must be the same ones, by name and size.
Status ReadRunSlices(const std::string& folder, const RunManifest& manifest, StateSource& source);

}  // namespace ds::checkpoint
