#pragma once

#include <cstdint>

#include "platform.h"

namespace paco {

PACO_HOST_DEVICE constexpr int64_t divide_up(int64_t dividend, int64_t divisor) {
  return (dividend + divisor - 1) / divisor;
}

PACO_HOST_DEVICE constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

}  // namespace paco
