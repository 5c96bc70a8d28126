#include "bcl_loss.h"

#include "bcl_loss_arguments.h"
#include "find_operator.h"

namespace paco {

at::Tensor bcl_loss(const at::Tensor& features, const at::Tensor& labels,
                    const at::Tensor& prototypes, const std::optional<at::Tensor>& queue,
                    const std::optional<at::Tensor>& queue_labels,
                    const std::optional<at::Tensor>& num_valid, double temperature) {
  static const auto op = find_operator<decltype(bcl_loss)>("paco::bcl_loss");
  return op.call(features, labels, prototypes, queue, queue_labels, num_valid, temperature);
}

BCLLossState bcl_loss_forward(const BCLLossArguments& args, bool gradient) {
  static const auto op =
      find_operator<decltype(bcl_forward_adaptor<bcl_loss_forward>)>("paco::bcl_loss_forward");
  auto [loss, gradient_of_loss] =
      op.call(args.features, args.labels, args.prototypes, args.queue, args.queue_labels,
              args.num_valid, args.temperature, gradient);
  return {loss, gradient_of_loss};
}

at::Tensor bcl_loss_backward(const BCLLossBackwardArguments& args) {
  static const auto op =
      find_operator<decltype(bcl_backward_adaptor<bcl_loss_backward>)>("paco::bcl_loss_backward");
  return op.call(args.grad_loss, args.features, args.prototypes, args.gradient);
}

}  // namespace paco
