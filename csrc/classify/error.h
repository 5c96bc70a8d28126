#pragma once

#include <stdexcept>

#include "../macros.h"

namespace paco {

/// All that libpaco_classify throws. Its text is a sentence for a person.
class PACO_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace paco
