#include "explain.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <sstream>

namespace paco::classify {

std::string explain(const std::exception& error) {
  if (dynamic_cast<const Error*>(&error) != nullptr) {
    return error.what();
  }
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  std::istringstream text(torch_error != nullptr ? torch_error->what_without_backtrace()
                                                 : error.what());
  std::string line;
  while (std::getline(text, line) && line.empty()) {
  }
  line.resize(std::min(line.size(), line.find(". ")));
  return line;
}

}  // namespace paco::classify
