// What happens when a mapped file loses its bytes while it is read: it is cut in place, or its disk fails. The system then sends SIGBUS
// in the middle of a read. The program that asks for it ends with one line and the status of resource errors, and not by a signal.
#pragma once
#include <cstddef>
#include <string>

namespace quern {

// From now on a bus error in a mapped file ends the process: one line that names the file, then _exit(4). Other bus errors stay what they
// are. For a program's main(); a library leaves the signal to its host.
void report_bus_errors();

// The files that a bus error can be in; kept by MappedFile. Any thread. Past the room of the list a file is reported without its name.
void note_mapped_file(const std::byte* data, size_t size, const std::string& path);
void forget_mapped_file(const std::byte* data);

}  // namespace quern
