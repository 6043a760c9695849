// Shared objects loaded at run time. A module that was loaded stays until the process ends.
#pragma once

#include <string>

#include "base/status.h"

namespace ds {

// Opens the project's module `file` ("libdeepspeed_onednn.so"): from the folders of DS_MODULE_PATH
// (colon separated) when it is set, else from beside the library or program that holds this code,
// or ../lib of it. The status names what was tried and why it failed.
Result<void*> LoadModule(const std::string& file);

// A symbol of a module.
Result<void*> FindSymbol(void* module, const std::string& file, const char* symbol);

}  // namespace ds
