#pragma once

#include <stdexcept>
#include <string>

namespace paco::classify {

/// Its text is a sentence for the person at the terminal.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What an error says, without PyTorch's advice and its stack of C++ functions: the first sentence.
/// Control characters, which a terminal would obey, are question marks: errors quote damaged files.
std::string explain(const std::exception& error);

}  // namespace paco::classify
