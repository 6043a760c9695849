// What is said when a file that is read shrinks under its reader.
#pragma once

namespace ds::tool {

// From here on SIGBUS ends the process with status 1 after one line that names the file. A file
// that is mapped and then cut short (or on a disk that fails) cannot be read on, and where it is
// touched nothing can return.
void ExplainBusErrors();

}  // namespace ds::tool
