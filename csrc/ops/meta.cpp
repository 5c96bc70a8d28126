// Dispatch key Meta: checks, shapes and dtypes, for torch.compile and torch.export.

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "bcl_loss_arguments.h"
#include "class_mean_update_arguments.h"
#include "paco_loss_arguments.h"
#include "paco_loss_partial_arguments.h"
#include "queue_enqueue_arguments.h"
#include "vmf_logits_arguments.h"

namespace paco {
namespace {

// Checked is all there is to do: the operator returns nothing and changes no shape.
void enqueue_meta(const QueueEnqueueArguments& /*args*/) {}
void class_mean_update_meta(const ClassMeanUpdateArguments& /*args*/) {}

at::Tensor bcl_backward_meta(const BCLLossBackwardArguments& args) {
  return at::empty_symint(args.gradient.sym_sizes(), args.gradient.options());
}

at::Tensor vmf_backward_meta(const VmfLogitsBackwardArguments& args) {
  const at::Tensor& features = args.forward.features;
  return at::empty_symint(features.sym_sizes(), features.options());
}

}  // namespace

TORCH_LIBRARY_IMPL(paco, Meta, m) {
  m.impl("paco_loss_forward", TORCH_FN(forward_adaptor<empty_state>));
  m.impl("paco_loss_backward", TORCH_FN(backward_adaptor<empty_gradients>));
  m.impl("paco_loss_partial", TORCH_FN(partial_adaptor<empty_record>));
  m.impl("paco_loss_combine", TORCH_FN(combine_adaptor<empty_combined>));
  m.impl("paco_loss_partial_backward", TORCH_FN(partial_backward_adaptor<empty_partial_gradients>));
  m.impl("bcl_loss_forward", TORCH_FN(bcl_forward_adaptor<empty_state>));
  m.impl("bcl_loss_backward", TORCH_FN(bcl_backward_adaptor<bcl_backward_meta>));
  m.impl("queue_enqueue_", TORCH_FN(queue_enqueue_adaptor<enqueue_meta>));
  m.impl("vmf_logits_forward", TORCH_FN(vmf_forward_adaptor<empty_vmf_state>));
  m.impl("vmf_logits_backward", TORCH_FN(vmf_backward_adaptor<vmf_backward_meta>));
  m.impl("class_mean_update_", TORCH_FN(class_mean_update_adaptor<class_mean_update_meta>));
}

}  // namespace paco
