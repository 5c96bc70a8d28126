#include "../center_logits.h"

#include <ATen/autocast_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

namespace paco {
namespace {

// The product runs in the autocast dtype, as for any linear layer. The prior stays float32, so the
// result is float32 wherever there is one.
template <c10::DispatchKey autocast_key, c10::DeviceType device_type>
at::Tensor center_logits_autocast(const at::Tensor& x, const at::Tensor& weight,
                                  const std::optional<at::Tensor>& bias,
                                  const std::optional<at::Tensor>& log_prior, double supt,
                                  bool cosine) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(autocast_key);
  const auto dtype = at::autocast::get_autocast_dtype(device_type);
  const auto cast = [&](const std::optional<at::Tensor>& tensor) {
    return at::autocast::cached_cast(dtype, tensor, device_type);
  };
  return center_logits(*cast(x), *cast(weight), cast(bias), log_prior, supt, cosine);
}

}  // namespace
}  // namespace paco

TORCH_LIBRARY_IMPL(paco, AutocastCPU, m) {
  m.impl("center_logits",
         TORCH_FN((paco::center_logits_autocast<c10::DispatchKey::AutocastCPU, c10::kCPU>)));
}

TORCH_LIBRARY_IMPL(paco, AutocastCUDA, m) {
  m.impl("center_logits",
         TORCH_FN((paco::center_logits_autocast<c10::DispatchKey::AutocastCUDA, c10::kCUDA>)));
}
