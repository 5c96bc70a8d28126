// Dispatch key CPU: the kernels of kernels/cpu on PyTorch's threads.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "../kernels/argument_error.h"
#include "../kernels/cpu/paco_loss.h"
#include "../kernels/cpu/queue_enqueue.h"
#include "paco_loss_arguments.h"
#include "queue_enqueue_arguments.h"

namespace paco {
namespace {

Threads torch_threads() {
  return {at::get_num_threads(),
          [](int64_t begin, int64_t end, int64_t grain_size, RangeFunction body) {
            at::parallel_for(begin, end, grain_size, body);
          }};
}

// A value that a kernel refuses is an error of the operator.
template <typename Kernel>
void run(const char* op, const Kernel& kernel) {
  try {
    kernel();
  } catch (const ArgumentError& error) {
    TORCH_CHECK_VALUE(false, op, ": ", error.what());
  }
}

void* data_or_null(const at::Tensor& tensor, bool wanted) {
  return wanted ? tensor.mutable_data_ptr() : nullptr;
}

PaCoLossState forward_cpu(const PaCoLossArguments& args, bool features_grad) {
  const DensePaCoLoss dense(args);
  const int64_t num_anchors = dense.problem.num_anchors;
  const auto options = args.features.options().dtype(accumulate_type(args.features.scalar_type()));
  PaCoLossState state{at::empty({}, options), at::empty({num_anchors}, options.dtype(at::kDouble)),
                      at::empty({num_anchors}, options),
                      features_grad ? at::empty({num_anchors, dense.problem.dim}, options)
                                    : at::empty({0}, options)};
  const PaCoLossOutput output{.loss = state.loss.mutable_data_ptr(),
                              .log_partition = state.log_partition.mutable_data_ptr<double>(),
                              .pair_weight = state.pair_weight.mutable_data_ptr(),
                              .anchor_grad = data_or_null(state.anchor_grad, features_grad)};
  run(args.name(), [&] { cpu::paco_loss_forward(dense.problem, output, torch_threads()); });
  return state;
}

PaCoLossInputGradients backward_cpu(const PaCoLossBackwardArguments& args) {
  const DensePaCoLoss dense(args);
  const auto log_partition = args.log_partition.contiguous();
  const auto pair_weight = args.pair_weight.contiguous();
  const auto anchor_grad = args.anchor_grad.contiguous();
  const auto gradient_of = [&](const at::Tensor& input) {
    return at::empty(input.sizes(), input.options());
  };
  PaCoLossInputGradients result{
      args.features_grad ? gradient_of(args.features) : at::empty({0}, args.features.options()),
      args.center_logits_grad ? gradient_of(*args.center_logits)
                              : at::empty({0}, args.features.options())};
  const PaCoLossGradients gradients{
      .grad_loss = args.grad_loss.const_data_ptr(),
      .log_partition = log_partition.const_data_ptr<double>(),
      .pair_weight = pair_weight.const_data_ptr(),
      .anchor_grad = args.features_grad ? anchor_grad.const_data_ptr() : nullptr,
      .grad_features = data_or_null(result.features, args.features_grad),
      .grad_center_logits = data_or_null(result.center_logits, args.center_logits_grad)};
  run(args.name(), [&] { cpu::paco_loss_backward(dense.problem, gradients, torch_threads()); });
  return result;
}

void enqueue_cpu(const QueueEnqueueArguments& args) {
  run("queue_enqueue_", [&] { cpu::queue_enqueue(queue_enqueue_problem(args), torch_threads()); });
}

}  // namespace
}  // namespace paco

TORCH_LIBRARY_IMPL(paco, CPU, m) {
  m.impl("paco_loss_forward", TORCH_FN(paco::forward_adaptor<paco::forward_cpu>));
  m.impl("paco_loss_backward", TORCH_FN(paco::backward_adaptor<paco::backward_cpu>));
  m.impl("queue_enqueue_", TORCH_FN(paco::queue_enqueue_adaptor<paco::enqueue_cpu>));
}
