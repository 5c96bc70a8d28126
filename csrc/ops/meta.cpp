// Dispatch key Meta: checks, shapes and dtypes, for torch.compile and torch.export.

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "paco_loss_arguments.h"
#include "queue_enqueue_arguments.h"

namespace paco {
namespace {

PaCoLossState forward_meta(const PaCoLossArguments& args, bool features_grad) {
  const at::Tensor& features = args.features;
  const auto options = features.options().dtype(accumulate_type(features.scalar_type()));
  const auto empty = [&](c10::SymIntArrayRef sizes) { return at::empty_symint(sizes, options); };
  const auto double_options = options.dtype(at::kDouble);
  const c10::SymInt num_anchors = args.count_anchors();
  return {empty({}), at::empty_symint({num_anchors}, double_options), empty({num_anchors}),
          features_grad ? empty({num_anchors, features.sym_size(1)}) : empty({0})};
}

PaCoLossInputGradients backward_meta(const PaCoLossBackwardArguments& args) {
  const auto gradient_of = [](const at::Tensor& input) {
    return at::empty_symint(input.sym_sizes(), input.options());
  };
  const auto unwanted = [&] { return at::empty({0}, args.features.options()); };
  return {args.features_grad ? gradient_of(args.features) : unwanted(),
          args.center_logits_grad ? gradient_of(*args.center_logits) : unwanted()};
}

// Checked is all there is to do: the operator returns nothing and changes no shape.
void enqueue_meta(const QueueEnqueueArguments& /*args*/) {}

}  // namespace
}  // namespace paco

TORCH_LIBRARY_IMPL(paco, Meta, m) {
  m.impl("paco_loss_forward", TORCH_FN(paco::forward_adaptor<paco::forward_meta>));
  m.impl("paco_loss_backward", TORCH_FN(paco::backward_adaptor<paco::backward_meta>));
  m.impl("queue_enqueue_", TORCH_FN(paco::queue_enqueue_adaptor<paco::enqueue_meta>));
}
