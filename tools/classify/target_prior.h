#pragma once

#include <string>
#include <vector>

namespace paco::classify {

/// Reads a JSON file, {"class": number, ...} or [number, ...], of how often each class occurs.
/// Throws Error, which names the file and what is wrong in it.
std::vector<double> read_target_prior(const std::string& path,
                                      const std::vector<std::string>& classes);

}  // namespace paco::classify
