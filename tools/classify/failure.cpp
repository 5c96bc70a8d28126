#include "failure.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "text.h"

namespace paco::classify {

std::string explain(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  std::istringstream text(torch_error != nullptr ? torch_error->what_without_backtrace()
                                                 : error.what());
  std::string line;
  while (std::getline(text, line) && line.empty()) {
  }
  line.resize(std::min(line.size(), line.find(". ")));
  return line;
}

void report(const std::string& sentence) {
  std::fprintf(stderr, "paco-classify: %s\n", printable(sentence).c_str());
}

}  // namespace paco::classify
