#include "base/library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

namespace ds {
namespace {

std::vector<std::string> Split(const std::string& list) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin) parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::vector<std::string> ModuleFolders() {
  if (const char* path = std::getenv("DS_MODULE_PATH")) return Split(path);
  Dl_info info = {};
  if (dladdr(reinterpret_cast<void*>(&ModuleFolders), &info) == 0 || info.dli_fname == nullptr) {
    return {};
  }
  // A program's name may be what it was called by; its link in /proc is where it lies.
  char real[4096];
  std::string file = info.dli_fname;
  if (char* resolved = realpath(file.c_str(), real)) {
    file = resolved;
  } else if (const ssize_t n = readlink("/proc/self/exe", real, sizeof real); n > 0) {
    file.assign(real, n);
  }
  const std::string folder = file.substr(0, file.rfind('/'));
  return {folder, folder + "/../lib"};
}

}  // namespace

Result<void*> LoadModule(const std::string& file) {
  std::string tried;
  for (const std::string& folder : ModuleFolders()) {
    const std::string path = fmt::format("{}/{}", folder, file);
    if (access(path.c_str(), R_OK) != 0) {
      if (!tried.empty()) tried += ", ";
      tried += path;
      continue;
    }
    // Local: a module's own dependencies must not answer for symbols of the host program.
    if (void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return module;
    const char* why = dlerror();
    return Error(Code::kUnsupported, "{} cannot be loaded: {}", path, why == nullptr ? "?" : why);
  }
  return Error(Code::kNotFound, "{} was not found (looked for {})", file,
               tried.empty() ? "nothing: no folder is known" : tried);
}

Result<void*> FindSymbol(void* module, const std::string& file, const char* symbol) {
  if (void* address = dlsym(module, symbol)) return address;
  return Error(Code::kUnsupported, "{} has no symbol {}", file, symbol);
}

}  // namespace ds
