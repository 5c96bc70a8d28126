#pragma once

#include <string>

namespace paco::classify {

/// Throws Error for a file that is no zip archive as PyTorch writes them, that holds something
/// else than what was written, by its checksums, or that would unpack to far more than its size, as
/// no export does: 3 MB can become 6 GB.
void check_archive(const std::string& path);

}  // namespace paco::classify
