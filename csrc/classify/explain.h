#pragma once

#include <exception>
#include <string>

#include "error.h"

namespace paco::classify {

/// The first sentence of an error, without PyTorch's advice and its stack of C++ functions.
std::string explain(const std::exception& error);

/// Runs a function; what it throws leaves as an Error.
template <typename Function>
decltype(auto) only_errors(const Function& function) {
  try {
    return function();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(explain(error));
  }
}

}  // namespace paco::classify
