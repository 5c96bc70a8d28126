// Dispatch keys AutocastCPU and AutocastCUDA: what mixed precision means for an operator.

#include <ATen/autocast_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include "bcl_loss_arguments.h"
#include "center_logits.h"
#include "center_logits_arguments.h"
#include "multi_label_paco_loss.h"
#include "multi_label_paco_loss_arguments.h"
#include "paco_loss_arguments.h"
#include "vmf_logits.h"
#include "vmf_logits_arguments.h"

namespace paco {
namespace {

template <c10::DeviceType device>
constexpr c10::DispatchKey kAutocastKey =
    device == c10::kCPU ? c10::DispatchKey::AutocastCPU : c10::DispatchKey::AutocastCUDA;

template <c10::DeviceType device, typename OptionalOrTensor>
OptionalOrTensor to_float(const OptionalOrTensor& tensor) {
  return at::autocast::cached_cast(at::kFloat, tensor, device);
}

// The losses are computed in float32 from whatever dtype the inputs come in.
template <c10::DeviceType device>
at::Tensor loss_autocast(const PaCoLossArguments& args, bool detach_keys) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(kAutocastKey<device>);
  return paco_loss(to_float<device>(args.features), args.labels,
                   to_float<device>(args.center_logits), to_float<device>(args.queue),
                   args.queue_labels, args.num_valid, args.anchor_weight, args.num_anchors,
                   args.options, args.soft_targets, detach_keys);
}

template <c10::DeviceType device>
at::Tensor bcl_loss_autocast(const BCLLossArguments& args) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(kAutocastKey<device>);
  return bcl_loss(to_float<device>(args.features), args.labels, to_float<device>(args.prototypes),
                  to_float<device>(args.queue), args.queue_labels, args.num_valid,
                  args.temperature);
}

template <c10::DeviceType device>
at::Tensor multi_label_autocast(const MultiLabelPaCoLossArguments& args) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(kAutocastKey<device>);
  return multi_label_paco_loss(to_float<device>(args.features), args.labels,
                               to_float<device>(args.center_logits), to_float<device>(args.queue),
                               args.queue_labels, args.num_valid, args.anchor_weight, args.options);
}

// The product runs in the autocast dtype, as for any linear layer. The prior stays float32, so the
// result is float32 wherever there is one.
template <c10::DeviceType device>
at::Tensor centers_autocast(const CenterLogitsArguments& args) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(kAutocastKey<device>);
  const auto dtype = at::autocast::get_autocast_dtype(device);
  const auto cast = [&](const auto& tensor) {
    return at::autocast::cached_cast(dtype, tensor, device);
  };
  return center_logits(cast(args.x), cast(args.weight), cast(args.bias), args.log_prior,
                       args.center_temperature, args.tau, args.scale);
}

// Logits of narrow distributions are differences of large numbers: float32.
template <c10::DeviceType device>
at::Tensor vmf_autocast(const VmfLogitsArguments& args) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(kAutocastKey<device>);
  return vmf_logits(to_float<device>(args.features), to_float<device>(args.mean_direction),
                    to_float<device>(args.concentration), args.temperature);
}

template <c10::DeviceType device>
void register_autocast(torch::Library& m) {
  m.impl("paco_loss", TORCH_FN(paco_loss_adaptor<loss_autocast<device>>));
  m.impl("bcl_loss", TORCH_FN(bcl_loss_adaptor<bcl_loss_autocast<device>>));
  m.impl("multi_label_paco_loss",
         TORCH_FN(multi_label_paco_loss_adaptor<multi_label_autocast<device>>));
  m.impl("center_logits", TORCH_FN(center_logits_adaptor<centers_autocast<device>>));
  m.impl("vmf_logits", TORCH_FN(vmf_logits_adaptor<vmf_autocast<device>>));
}

}  // namespace

TORCH_LIBRARY_IMPL(paco, AutocastCPU, m) { register_autocast<c10::kCPU>(m); }

TORCH_LIBRARY_IMPL(paco, AutocastCUDA, m) { register_autocast<c10::kCUDA>(m); }

}  // namespace paco
