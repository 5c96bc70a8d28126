#pragma once

#include <stdexcept>
#include <string>

namespace paco::classify {

/// Its text is a sentence for the person at the terminal.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The first sentence of an error, without PyTorch's advice and its stack of C++ functions.
std::string explain(const std::exception& error);

/// Writes a line to the standard error. It may quote damaged files: only what is printable gets
/// out.
void report(const std::string& sentence);

}  // namespace paco::classify
