#include "vmf_logits.h"

#include "find_operator.h"
#include "vmf_logits_arguments.h"

namespace paco {

at::Tensor vmf_logits(const at::Tensor& features, const at::Tensor& mean_direction,
                      const at::Tensor& concentration, double temperature) {
  static const auto op = find_operator<decltype(vmf_logits)>("paco::vmf_logits");
  return op.call(features, mean_direction, concentration, temperature);
}

VmfLogitsState vmf_logits_forward(const VmfLogitsArguments& args, bool features_grad) {
  static const auto op =
      find_operator<decltype(vmf_forward_adaptor<vmf_logits_forward>)>("paco::vmf_logits_forward");
  auto [logits, slope] = op.call(args.features, args.mean_direction, args.concentration,
                                 args.temperature, features_grad);
  return {logits, slope};
}

at::Tensor vmf_logits_backward(const VmfLogitsBackwardArguments& args) {
  static const auto op = find_operator<decltype(vmf_backward_adaptor<vmf_logits_backward>)>(
      "paco::vmf_logits_backward");
  const VmfLogitsArguments& forward = args.forward;
  return op.call(args.grad_logits, forward.features, forward.mean_direction, forward.concentration,
                 args.slope, forward.temperature);
}

}  // namespace paco
