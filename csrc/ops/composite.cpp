// Dispatch keys CompositeExplicitAutograd and CompositeImplicitAutograd: operators made of others,
// on any device that has no kernels of its own.

#include "../composite/composite.h"

#include <torch/library.h>

#include <string>
#include <tuple>
#include <vector>

#include "../build_info.h"
#include "bcl_loss_arguments.h"
#include "center_logits_arguments.h"
#include "class_mean_update_arguments.h"
#include "multi_label_paco_loss_arguments.h"
#include "paco_loss_arguments.h"
#include "paco_loss_partial_arguments.h"
#include "queue_enqueue_arguments.h"
#include "vmf_logits_arguments.h"

namespace paco {
namespace {

// The loss alone is computed without autograd.
at::Tensor loss_without_grad(const PaCoLossArguments& args, bool /*detach_keys*/) {
  return paco_loss_forward(args, /*features_grad=*/false).loss;
}

at::Tensor bcl_loss_without_grad(const BCLLossArguments& args) {
  return bcl_loss_forward(args, /*gradient=*/false).loss;
}

at::Tensor vmf_without_grad(const VmfLogitsArguments& args) {
  return vmf_logits_forward(args, /*features_grad=*/false).logits;
}

// No tensor chooses a dispatch key, and composite operators serve them all.
std::tuple<std::string, std::string, std::string, std::string, bool, std::vector<std::string>,
           std::string, std::string>
build_info_fields() {
  const BuildInfo info = build_info();
  return {info.version,   info.torch_version,    info.cuda_version,   info.compiler,
          info.cxx11_abi, info.cpu_capabilities, info.cpu_capability, info.build_type};
}

}  // namespace

TORCH_LIBRARY_IMPL(paco, CompositeExplicitAutograd, m) {
  m.impl("paco_loss", TORCH_FN(paco_loss_adaptor<loss_without_grad>));
  m.impl("bcl_loss", TORCH_FN(bcl_loss_adaptor<bcl_loss_without_grad>));
  m.impl("paco_loss_forward", TORCH_FN(forward_adaptor<composite::paco_loss_forward>));
  m.impl("paco_loss_backward", TORCH_FN(backward_adaptor<composite::paco_loss_backward>));
  m.impl("paco_loss_partial", TORCH_FN(partial_adaptor<composite::paco_loss_partial>));
  m.impl("paco_loss_combine", TORCH_FN(combine_adaptor<composite::paco_loss_combine>));
  m.impl("paco_loss_partial_backward",
         TORCH_FN(partial_backward_adaptor<composite::paco_loss_partial_backward>));
  m.impl("bcl_loss_forward", TORCH_FN(bcl_forward_adaptor<composite::bcl_loss_forward>));
  m.impl("bcl_loss_backward", TORCH_FN(bcl_backward_adaptor<composite::bcl_loss_backward>));
  m.impl("queue_enqueue_", TORCH_FN(queue_enqueue_adaptor<composite::queue_enqueue_>));
  m.impl("vmf_logits", TORCH_FN(vmf_logits_adaptor<vmf_without_grad>));
  m.impl("vmf_logits_forward", TORCH_FN(vmf_forward_adaptor<composite::vmf_logits_forward>));
  m.impl("vmf_logits_backward", TORCH_FN(vmf_backward_adaptor<composite::vmf_logits_backward>));
  m.impl("class_mean_update_", TORCH_FN(class_mean_update_adaptor<composite::class_mean_update_>));
}

// Made of differentiable ATen operators, so it needs no derivative of its own, runs on every
// device, and is transparent to torch.compile and torch.export.
TORCH_LIBRARY_IMPL(paco, CompositeImplicitAutograd, m) {
  m.impl("center_logits", TORCH_FN(center_logits_adaptor<composite::center_logits>));
  m.impl("multi_label_paco_loss",
         TORCH_FN(multi_label_paco_loss_adaptor<composite::multi_label_paco_loss>));
  m.impl("build_info", TORCH_FN(build_info_fields));
}

}  // namespace paco
