// Dispatch key CUDA: the kernels of kernels/cuda on PyTorch's current stream. The form made of ATen
// operators takes the problems that they do not.

#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "../composite/composite.h"
#include "../kernels/cuda/class_mean_update.h"
#include "../kernels/cuda/paco_loss.h"
#include "../kernels/cuda/queue_enqueue.h"
#include "../kernels/cuda/vmf_logits.h"
#include "class_mean_update_arguments.h"
#include "paco_loss_arguments.h"
#include "paco_loss_partial_arguments.h"
#include "queue_enqueue_arguments.h"
#include "vmf_logits_arguments.h"

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

PaCoLossState forward_cuda(const PaCoLossArguments& args, bool features_grad) {
  const c10::cuda::CUDAGuard guard(args.features.device());
  const bool tf32 = allow_tf32();
  const DensePaCoLoss dense(args);
  if (!is_supported(dense.problem, tf32)) return composite::paco_loss_forward(args, features_grad);
  // The kernels check labels and weights on the way.
  if (args.soft_targets) composite::check_soft_targets(*args.soft_targets);

  cuda::ForwardPlan plan{};
  C10_CUDA_CHECK(cuda::plan_paco_loss_forward(dense.problem, tf32, features_grad, plan));
  const auto scratch = at::empty({plan.scratch_bytes}, args.features.options().dtype(at::kByte));
  const PaCoLossState state = empty_state(args, features_grad);
  C10_CUDA_CHECK(cuda::launch_paco_loss_forward(dense.problem, tf32, plan,
                                                scratch.mutable_data_ptr(), output_of(state),
                                                c10::cuda::getCurrentCUDAStream()));
  return state;
}

PaCoLossInputGradients backward_cuda(const PaCoLossBackwardArguments& args) {
  const c10::cuda::CUDAGuard guard(args.features.device());
  const bool tf32 = allow_tf32();
  DensePaCoLoss dense(args);
  if (!is_supported(dense.problem, tf32)) return composite::paco_loss_backward(args);

  const PaCoLossInputGradients result = empty_gradients(args);
  C10_CUDA_CHECK(cuda::launch_paco_loss_backward(dense.problem, tf32, dense.gradients(args, result),
                                                 c10::cuda::getCurrentCUDAStream()));
  return result;
}

PaCoLossRecord partial_cuda(const PaCoLossPartialArguments& args, bool features_grad) {
  const c10::cuda::CUDAGuard guard(args.anchors.device());
  const bool tf32 = allow_tf32();
  const DensePaCoLoss dense(args);
  if (!is_supported(dense.problem, tf32)) return composite::paco_loss_partial(args, features_grad);
  // The kernels check labels on the way.
  composite::check_anchor_rows(args);

  cuda::ForwardPlan plan{};
  C10_CUDA_CHECK(cuda::plan_paco_loss_forward(dense.problem, tf32, features_grad, plan));
  const auto scratch = at::empty({plan.scratch_bytes}, args.anchors.options().dtype(at::kByte));
  const PaCoLossRecord record = empty_record(args, features_grad);
  C10_CUDA_CHECK(cuda::launch_paco_loss_partial(dense.problem, tf32, plan,
                                                scratch.mutable_data_ptr(), records_of(record),
                                                c10::cuda::getCurrentCUDAStream()));
  return record;
}

PaCoLossCombined combine_cuda(const PaCoLossCombineArguments& args) {
  const c10::cuda::CUDAGuard guard(args.anchors.device());
  DensePaCoLoss dense(args);
  if (!is_supported(dense.problem, allow_tf32())) return composite::paco_loss_combine(args);
  const PaCoLossCombined result = empty_combined(args);
  C10_CUDA_CHECK(cuda::launch_paco_loss_combine(
      dense.problem, dense.records(args), output_of(result), c10::cuda::getCurrentCUDAStream()));
  return result;
}

PaCoLossInputGradients partial_backward_cuda(const PaCoLossPartialBackwardArguments& args) {
  const c10::cuda::CUDAGuard guard(args.share.anchors.device());
  const bool tf32 = allow_tf32();
  DensePaCoLoss dense(args.share);
  if (!is_supported(dense.problem, tf32)) return composite::paco_loss_partial_backward(args);

  const auto anchor_of_row = composite::anchor_of_row(args.share);
  dense.problem.share.anchor_of_row = anchor_of_row.const_data_ptr<int64_t>();
  const PaCoLossInputGradients result = empty_partial_gradients(args);
  C10_CUDA_CHECK(cuda::launch_paco_loss_backward(dense.problem, tf32, dense.gradients(args, result),
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

// The product is cuBLAS's, and what follows it one kernel.
VmfLogitsState vmf_forward_cuda(const VmfLogitsArguments& args, bool features_grad) {
  const c10::cuda::CUDAGuard guard(args.features.device());
  const bool in_double = vmf_computes_in_double(args);
  const auto dtype = in_double ? at::kDouble : at::kFloat;
  const auto concentration = composite::checked_concentration(args).contiguous();
  const auto features = args.features.to(dtype);
  const auto products = features.matmul(args.mean_direction.to(dtype).t()).contiguous();
  const auto squares = features.div(args.temperature).square_().sum(1);
  const VmfLogitsState state = empty_vmf_state(args, features_grad);
  const bool float64 = args.mean_direction.scalar_type() == at::kDouble;
  const cuda::VmfPairsProblem problem{
      .in_double = in_double,
      .sum_type = float64 ? ElementType::kFloat64 : ElementType::kFloat32,
      .products = products.const_data_ptr(),
      .squares = squares.const_data_ptr(),
      .concentration = concentration.const_data_ptr(),
      .logits = state.logits.mutable_data_ptr(),
      .slope = features_grad ? state.slope.mutable_data_ptr() : nullptr,
      .num_anchors = products.size(0),
      .num_classes = products.size(1),
      .dim = features.size(1),
      .temperature = args.temperature};
  C10_CUDA_CHECK(cuda::launch_vmf_pairs(problem, c10::cuda::getCurrentCUDAStream()));
  return state;
}

void class_mean_update_cuda(const ClassMeanUpdateArguments& args) {
  const c10::cuda::CUDAGuard guard(args.class_mean.device());
  if (args.features.size(0) == 0) return;
  C10_CUDA_CHECK(
      cuda::launch_class_mean_update(class_mean_problem(args), c10::cuda::getCurrentCUDAStream()));
}

}  // namespace

TORCH_LIBRARY_IMPL(paco, CUDA, m) {
  m.impl("paco_loss_forward", TORCH_FN(forward_adaptor<forward_cuda>));
  m.impl("paco_loss_backward", TORCH_FN(backward_adaptor<backward_cuda>));
  m.impl("paco_loss_partial", TORCH_FN(partial_adaptor<partial_cuda>));
  m.impl("paco_loss_combine", TORCH_FN(combine_adaptor<combine_cuda>));
  m.impl("paco_loss_partial_backward", TORCH_FN(partial_backward_adaptor<partial_backward_cuda>));
  m.impl("queue_enqueue_", TORCH_FN(queue_enqueue_adaptor<enqueue_cuda>));
  m.impl("vmf_logits_forward", TORCH_FN(vmf_forward_adaptor<vmf_forward_cuda>));
  m.impl("class_mean_update_", TORCH_FN(class_mean_update_adaptor<class_mean_update_cuda>));
}

}  // namespace paco
