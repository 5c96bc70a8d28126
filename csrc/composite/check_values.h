#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/_assert_async.h>
#include <c10/util/Exception.h>

namespace paco::composite {

// Values that are on a device already cannot be read without waiting for it: there the check is a
// device assertion.
inline void check_values(const char* op, const at::Tensor& all_true, const char* message) {
  if (all_true.device().is_cpu()) {
    TORCH_CHECK_VALUE(all_true.item<bool>(), op, ": ", message);
  } else {
    at::_assert_async(all_true, c10::str(op, ": ", message));
  }
}

}  // namespace paco::composite
