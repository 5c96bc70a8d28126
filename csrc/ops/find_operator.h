#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

namespace paco {

// An operator by its name, as a function of the C++ types that its schema stands for.
template <typename Function>
auto find_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Function>();
}

}  // namespace paco
