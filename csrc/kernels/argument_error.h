#pragma once

#include <stdexcept>

namespace paco {

// A value among the arguments that a kernel refuses. The message names the argument and the value.
class ArgumentError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

}  // namespace paco
