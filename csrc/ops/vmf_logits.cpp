#include "vmf_logits.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include "vmf_logits_arguments.h"

namespace paco {

at::Tensor vmf_logits(const at::Tensor& features, const at::Tensor& mean_direction,
                      const at::Tensor& concentration, double temperature) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("paco::vmf_logits", "")
                             .typed<decltype(vmf_logits)>();
  return op.call(features, mean_direction, concentration, temperature);
}

VmfLogitsState vmf_logits_forward(const VmfLogitsArguments& args, bool features_grad) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("paco::vmf_logits_forward", "")
          .typed<std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&,
                                                    const at::Tensor&, double, bool)>();
  auto [logits, slope] = op.call(args.features, args.mean_direction, args.concentration,
                                 args.temperature, features_grad);
  return {logits, slope};
}

at::Tensor vmf_logits_backward(const VmfLogitsBackwardArguments& args) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("paco::vmf_logits_backward", "")
          .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                            const at::Tensor&, const at::Tensor&, double)>();
  const VmfLogitsArguments& forward = args.forward;
  return op.call(args.grad_logits, forward.features, forward.mean_direction, forward.concentration,
                 args.slope, forward.temperature);
}

}  // namespace paco
