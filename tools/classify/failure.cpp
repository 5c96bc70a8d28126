#include "failure.h"

#include <c10/util/Exception.h>

#include <sstream>

namespace paco::classify {

std::string explain(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  std::istringstream text(torch_error != nullptr ? torch_error->what_without_backtrace()
                                                 : error.what());
  std::string line;
  while (std::getline(text, line) && line.empty()) {
  }
  return line.substr(0, line.find(". "));
}

}  // namespace paco::classify
