#include "../paco_loss.h"

#include <ATen/autocast_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include <utility>

namespace paco {
namespace {

// The loss is computed in float32 from whatever dtype the inputs come in.
template <c10::DispatchKey autocast_key, c10::DeviceType device_type>
at::Tensor paco_loss_autocast(const at::Tensor& features, const at::Tensor& labels,
                              const std::optional<at::Tensor>& center_logits,
                              const std::optional<at::Tensor>& queue,
                              const std::optional<at::Tensor>& queue_labels,
                              c10::SymInt num_anchors, const std::optional<at::Tensor>& queue_size,
                              double alpha, double beta, double gamma, double temperature,
                              std::optional<double> base_temperature, double label_smoothing,
                              const std::optional<at::Tensor>& anchor_weight) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(autocast_key);
  const auto to_float = [](const std::optional<at::Tensor>& tensor) {
    return at::autocast::cached_cast(at::kFloat, tensor, device_type);
  };
  return paco_loss(*to_float(features), labels, to_float(center_logits), to_float(queue),
                   queue_labels, std::move(num_anchors), queue_size,
                   {.alpha = alpha,
                    .temperature = temperature,
                    .beta = beta,
                    .gamma = gamma,
                    .base_temperature = base_temperature,
                    .label_smoothing = label_smoothing},
                   anchor_weight);
}

}  // namespace
}  // namespace paco

TORCH_LIBRARY_IMPL(paco, AutocastCPU, m) {
  m.impl("paco_loss",
         TORCH_FN((paco::paco_loss_autocast<c10::DispatchKey::AutocastCPU, c10::kCPU>)));
}

TORCH_LIBRARY_IMPL(paco, AutocastCUDA, m) {
  m.impl("paco_loss",
         TORCH_FN((paco::paco_loss_autocast<c10::DispatchKey::AutocastCUDA, c10::kCUDA>)));
}
