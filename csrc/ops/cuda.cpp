// Dispatch key CUDA: the kernels of kernels/cuda on PyTorch's current stream. The form made of ATen
// operators takes the problems that they do not.

#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "../composite/composite.h"
#include "../kernels/cuda/paco_loss.h"
#include "../kernels/cuda/queue_enqueue.h"
#include "paco_loss_arguments.h"
#include "queue_enqueue_arguments.h"

namespace paco {
namespace {

// Whether products of float32 may be those of tf32.
bool allow_tf32() {
  return at::globalContext().float32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL) ==
         at::Float32Precision::TF32;
}

// Asks with the device of the problem current.
bool is_supported(const PaCoLossProblem& problem, bool tf32) {
  bool supported = false;
  C10_CUDA_CHECK(cuda::paco_loss_supported(problem.type, tf32, problem.dim, supported));
  return supported;
}

void* data_or_null(const at::Tensor& tensor, bool wanted) {
  return wanted ? tensor.mutable_data_ptr() : nullptr;
}

PaCoLossState forward_cuda(const PaCoLossArguments& args, bool features_grad) {
  const c10::cuda::CUDAGuard guard(args.features.device());
  const bool tf32 = allow_tf32();
  const DensePaCoLoss dense(args);
  const PaCoLossProblem& problem = dense.problem;
  if (!is_supported(problem, tf32)) return composite::paco_loss_forward(args, features_grad);

  cuda::ForwardPlan plan{};
  C10_CUDA_CHECK(cuda::plan_paco_loss_forward(problem, tf32, features_grad, plan));
  const auto options = args.features.options().dtype(at::kFloat);
  const auto scratch = at::empty({plan.scratch_bytes}, options.dtype(at::kByte));
  const int64_t num_anchors = problem.num_anchors;
  PaCoLossState state{
      at::empty({}, options), at::empty({num_anchors}, options.dtype(at::kDouble)),
      at::empty({num_anchors}, options),
      features_grad ? at::empty({num_anchors, problem.dim}, options) : at::empty({0}, options)};
  const PaCoLossOutput output{.loss = state.loss.mutable_data_ptr(),
                              .log_partition = state.log_partition.mutable_data_ptr<double>(),
                              .pair_weight = state.pair_weight.mutable_data_ptr(),
                              .anchor_grad = data_or_null(state.anchor_grad, features_grad)};
  C10_CUDA_CHECK(cuda::launch_paco_loss_forward(problem, tf32, plan, scratch.mutable_data_ptr(),
                                                output, c10::cuda::getCurrentCUDAStream()));
  return state;
}

PaCoLossInputGradients backward_cuda(const PaCoLossBackwardArguments& args) {
  const c10::cuda::CUDAGuard guard(args.features.device());
  const bool tf32 = allow_tf32();
  const DensePaCoLoss dense(args);
  if (!is_supported(dense.problem, tf32)) return composite::paco_loss_backward(args);

  const auto log_partition = args.log_partition.contiguous();
  const auto pair_weight = args.pair_weight.contiguous();
  const auto anchor_grad = args.anchor_grad.contiguous();
  const auto gradient_of = [](const at::Tensor& input) {
    return at::empty(input.sizes(), input.options());
  };
  const auto options = args.features.options();
  PaCoLossInputGradients result{
      args.features_grad ? gradient_of(args.features) : at::empty({0}, options),
      args.center_logits_grad ? gradient_of(*args.center_logits) : at::empty({0}, options)};
  const PaCoLossGradients gradients{
      .grad_loss = args.grad_loss.const_data_ptr(),
      .log_partition = log_partition.const_data_ptr<double>(),
      .pair_weight = pair_weight.const_data_ptr(),
      .anchor_grad = args.features_grad ? anchor_grad.const_data_ptr() : nullptr,
      .grad_features = data_or_null(result.features, args.features_grad),
      .grad_center_logits = data_or_null(result.center_logits, args.center_logits_grad)};
  C10_CUDA_CHECK(cuda::launch_paco_loss_backward(dense.problem, tf32, gradients,
                                                 c10::cuda::getCurrentCUDAStream()));
  return result;
}

void enqueue_cuda(const QueueEnqueueArguments& args) {
  const c10::cuda::CUDAGuard guard(args.queue.device());
  if (args.keys.size(0) == 0) return;
  auto problem = queue_enqueue_problem(args);
  at::Tensor converted;
  if (!cuda::queue_enqueue_converts(problem.key_type, problem.queue_type)) {
    converted = args.keys.to(args.queue.scalar_type());
    problem = queue_enqueue_problem(
        {args.queue, args.queue_labels, args.queue_state, converted, args.labels});
  }
  C10_CUDA_CHECK(cuda::launch_queue_enqueue(problem, c10::cuda::getCurrentCUDAStream()));
}

}  // namespace
}  // namespace paco

TORCH_LIBRARY_IMPL(paco, CUDA, m) {
  m.impl("paco_loss_forward", TORCH_FN(paco::forward_adaptor<paco::forward_cuda>));
  m.impl("paco_loss_backward", TORCH_FN(paco::backward_adaptor<paco::backward_cuda>));
  m.impl("queue_enqueue_", TORCH_FN(paco::queue_enqueue_adaptor<paco::enqueue_cuda>));
}
