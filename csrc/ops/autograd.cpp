// Dispatch key Autograd: derivatives.

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/constant_pad_nd.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/library.h>

#include <vector>

#include "bcl_loss_arguments.h"
#include "class_mean_update.h"
#include "paco_loss_arguments.h"
#include "queue_enqueue.h"
#include "tensor_checks.h"
#include "vmf_logits_arguments.h"

namespace paco {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

OptionalTensor as_optional(const Variable& saved) {
  return saved.defined() ? OptionalTensor(saved) : std::nullopt;
}

class PaCoLossFunction : public torch::autograd::Function<PaCoLossFunction> {
 public:
  // The first two are what the gradient flows to; they are among `args` too.
  static Variable forward(AutogradContext* context, const Variable& features,
                          const OptionalTensor& center_logits, const PaCoLossArguments* args,
                          bool features_grad, bool detach_keys) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const auto state = paco_loss_forward(*args, features_grad);
    context->save_for_backward({features, args->labels, center_logits.value_or(Variable()),
                                args->anchor_weight.value_or(Variable()), state.log_partition,
                                state.pair_weight, state.anchor_grad,
                                args->class_counts.value_or(Variable()),
                                args->soft_targets.value_or(Variable())});
    const auto& [alpha, temperature, beta, gamma, base_temperature, smoothing] = args->options;
    context->saved_data["options"] = std::vector<double>{
        alpha, temperature, beta, gamma, base_temperature.value_or(temperature), smoothing};
    context->saved_data["detach_keys"] = detach_keys;
    return state.loss;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad_outputs) {
    // The forward pass ran in float32; a backward pass inside autocast has to as well.
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    const auto saved = context->get_saved_variables();
    const auto center_logits = as_optional(saved[2]);
    const auto numbers = context->saved_data["options"].toDoubleVector();
    const PaCoLossOptions options{numbers[0], numbers[1], numbers[2],
                                  numbers[3], numbers[4], numbers[5]};
    // By position among the tensors that forward() was given, not by requires_grad(), which the
    // user may have changed since.
    const bool features_grad = context->needs_input_grad(0);
    const bool center_logits_grad = center_logits && context->needs_input_grad(1);
    const auto anchor_weight = as_optional(saved[3]);
    const auto class_counts = as_optional(saved[7]);
    const auto soft_targets = as_optional(saved[8]);
    // The backward pass has to know the rows with a gradient alone: anchors, where keys have none.
    const c10::SymInt num_rows = saved[0].sym_size(0);
    const bool detach_keys = context->saved_data["detach_keys"].toBool();
    const c10::SymInt num_columns = detach_keys ? saved[5].sym_size(0) : num_rows;
    auto gradients = paco_loss_backward({.grad_loss = grad_outputs[0],
                                         .features = saved[0].narrow_symint(0, 0, num_columns),
                                         .labels = saved[1].narrow_symint(0, 0, num_columns),
                                         .center_logits = center_logits,
                                         .anchor_weight = anchor_weight,
                                         .log_partition = saved[4],
                                         .pair_weight = saved[5],
                                         .anchor_grad = saved[6],
                                         .options = options,
                                         .soft_targets = soft_targets,
                                         .features_grad = features_grad,
                                         .center_logits_grad = center_logits_grad,
                                         .class_counts = class_counts});
    if (features_grad && detach_keys) {
      gradients.features =
          at::constant_pad_nd_symint(gradients.features, {0, 0, 0, num_rows - num_columns});
    }
    // One entry an argument of forward().
    return {features_grad ? gradients.features : Variable(),
            center_logits_grad ? gradients.center_logits : Variable(), Variable(), Variable(),
            Variable()};
  }
};

// Activation checkpointing repeats a forward pass inside of the backward pass, where a queue is no
// longer that of the first time, and would be written to again.
bool in_backward_pass() { return torch::autograd::get_current_graph_task_id() != -1; }

void check_no_queue_again(const char* op, const OptionalTensor& queue) {
  TORCH_CHECK_VALUE(!(queue && in_backward_pass()), op,
                    ": a loss with a queue cannot be computed again in a backward pass: "
                    "checkpoint the encoders only, not the loss and the queue");
}

at::Tensor loss_autograd(const PaCoLossArguments& args, bool detach_keys) {
  check_constant("paco_loss", "anchor_weight", args.anchor_weight);
  check_constant("paco_loss", "soft_targets", args.soft_targets);
  check_no_queue_again("paco_loss", args.queue);
  const bool features_grad = at::GradMode::is_enabled() && args.features.requires_grad();
  return PaCoLossFunction::apply(args.features, args.center_logits, &args, features_grad,
                                 detach_keys);
}

class BCLLossFunction : public torch::autograd::Function<BCLLossFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& features,
                          const Variable& prototypes, const BCLLossArguments* args,
                          bool wants_grad) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const auto state = bcl_loss_forward(*args, wants_grad);
    context->save_for_backward({features, prototypes, state.gradient});
    return state.loss;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad_outputs) {
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    const auto saved = context->get_saved_variables();
    const c10::SymInt num_rows = saved[0].sym_size(0);
    Variable gradient = saved[2];
    if (at::GradMode::is_enabled() || torch::autograd::get_current_graph_task_keep_graph()) {
      gradient = bcl_loss_backward({grad_outputs[0], saved[0], saved[1], gradient});
    } else {  // nobody will ask for it again
      const at::AutoDispatchBelowADInplaceOrView below_autograd;
      gradient.mul_(grad_outputs[0]);
    }
    return {gradient.narrow_symint(0, 0, num_rows),
            gradient.narrow_symint(0, num_rows, saved[1].sym_size(0)), Variable(), Variable()};
  }
};

at::Tensor bcl_loss_autograd(const BCLLossArguments& args) {
  check_no_queue_again("bcl_loss", args.queue);
  const bool wants_grad = at::GradMode::is_enabled() &&
                          (args.features.requires_grad() || args.prototypes.requires_grad());
  return BCLLossFunction::apply(args.features, args.prototypes, &args, wants_grad);
}

class VmfLogitsFunction : public torch::autograd::Function<VmfLogitsFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& features,
                          const VmfLogitsArguments* args, bool features_grad) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const auto state = vmf_logits_forward(*args, features_grad);
    context->save_for_backward({features, args->mean_direction, args->concentration, state.slope});
    context->saved_data["temperature"] = args->temperature;
    return state.logits;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad_outputs) {
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    const auto saved = context->get_saved_variables();
    return {vmf_logits_backward(
                {grad_outputs[0],
                 saved[3],
                 {saved[0], saved[1], saved[2], context->saved_data["temperature"].toDouble()}}),
            Variable(), Variable()};
  }
};

at::Tensor vmf_autograd(const VmfLogitsArguments& args) {
  check_constant("vmf_logits", "mean_direction", args.mean_direction);
  check_constant("vmf_logits", "concentration", args.concentration);
  const bool features_grad = at::GradMode::is_enabled() && args.features.requires_grad();
  return VmfLogitsFunction::apply(args.features, &args, features_grad);
}

// The written tensors get a new version, so that a backward pass that saved one of them says so
// instead of using the overwritten rows.
void bump_versions(std::initializer_list<const at::Tensor*> written) {
  for (const at::Tensor* tensor : written) {
    if (!tensor->is_inference()) tensor->unsafeGetTensorImpl()->bump_version();
  }
}

// Keys enter the queue as values.
void enqueue_autograd(const at::Tensor& queue, const at::Tensor& queue_labels,
                      const at::Tensor& queue_state, const at::Tensor& keys,
                      const at::Tensor& labels) {
  TORCH_CHECK_VALUE(!queue.requires_grad(),
                    "queue_enqueue_: queue must not require a gradient (none flows to it)");
  TORCH_CHECK_VALUE(!in_backward_pass(),
                    "queue_enqueue_: keys cannot be enqueued in a backward pass, a second time: "
                    "checkpoint the encoders only, not the loss and the queue");
  {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    queue_enqueue_(queue, queue_labels, queue_state, keys, labels);
  }
  bump_versions({&queue, &queue_labels, &queue_state});
}

void class_mean_update_autograd(const at::Tensor& class_mean, const at::Tensor& class_count,
                                const at::Tensor& features, const at::Tensor& labels) {
  TORCH_CHECK_VALUE(!class_mean.requires_grad(),
                    "class_mean_update_: class_mean must not require a gradient (none flows to "
                    "it)");
  TORCH_CHECK_VALUE(!in_backward_pass(),
                    "class_mean_update_: features cannot be added in a backward pass, a second "
                    "time: checkpoint the encoder only, not the loss and its class means");
  {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    class_mean_update_(class_mean, class_count, features, labels);
  }
  bump_versions({&class_mean, &class_count});
}

}  // namespace

TORCH_LIBRARY_IMPL(paco, Autograd, m) {
  m.impl("paco_loss", TORCH_FN(paco_loss_adaptor<loss_autograd>));
  m.impl("bcl_loss", TORCH_FN(bcl_loss_adaptor<bcl_loss_autograd>));
  m.impl("queue_enqueue_", TORCH_FN(enqueue_autograd));
  m.impl("vmf_logits", TORCH_FN(vmf_logits_adaptor<vmf_autograd>));
  m.impl("class_mean_update_", TORCH_FN(class_mean_update_autograd));
  // The halves have no derivative of their own. Saying so turns a second derivative, which would be
  // silently wrong, into an error. That of the loss in two halves, which takes more than one
  // process, is in paco.distributed.
  for (const char* half : {"paco_loss_forward", "paco_loss_backward", "paco_loss_partial",
                           "paco_loss_combine", "paco_loss_partial_backward", "bcl_loss_forward",
                           "bcl_loss_backward", "vmf_logits_forward", "vmf_logits_backward"}) {
    m.impl(half, torch::autograd::autogradNotImplementedFallback());
  }
}

}  // namespace paco
