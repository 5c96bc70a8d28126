// Dispatch key CPU: the kernels of kernels/cpu on PyTorch's threads.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>

#include "../kernels/argument_error.h"
#include "../kernels/cpu/bcl_loss.h"
#include "../kernels/cpu/class_mean_update.h"
#include "../kernels/cpu/paco_loss.h"
#include "../kernels/cpu/queue_enqueue.h"
#include "../kernels/cpu/vmf_logits.h"
#include "bcl_loss_arguments.h"
#include "class_mean_update_arguments.h"
#include "paco_loss_arguments.h"
#include "paco_loss_partial_arguments.h"
#include "queue_enqueue_arguments.h"
#include "vmf_logits_arguments.h"

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

// Asks for huge pages under a large result. Fresh memory is cleared by the kernel page by page,
// which takes as long as the gradient of the center logits does to compute.
void prefer_huge_pages([[maybe_unused]] const at::Tensor& result) {
#if defined(__linux__)
  constexpr size_t kHugePage = 1 << 21;
  auto* const data = static_cast<char*>(result.mutable_data_ptr());
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(data) % kHugePage) % kHugePage;
  const size_t pages = result.nbytes() > before ? (result.nbytes() - before) / kHugePage : 0;
  // Where it is refused nothing is lost.
  if (pages > 0) madvise(data + before, pages * kHugePage, MADV_HUGEPAGE);
#endif
}

PaCoLossState forward_cpu(const PaCoLossArguments& args, bool features_grad) {
  const DensePaCoLoss dense(args);
  const PaCoLossState state = empty_state(args, features_grad);
  run(args.name(),
      [&] { cpu::paco_loss_forward(dense.problem, output_of(state), torch_threads()); });
  return state;
}

PaCoLossInputGradients backward_cpu(const PaCoLossBackwardArguments& args) {
  DensePaCoLoss dense(args);
  const PaCoLossInputGradients result = empty_gradients(args);
  prefer_huge_pages(result.center_logits);
  const PaCoLossGradients gradients = dense.gradients(args, result);
  run(args.name(), [&] { cpu::paco_loss_backward(dense.problem, gradients, torch_threads()); });
  return result;
}

PaCoLossRecord partial_cpu(const PaCoLossPartialArguments& args, bool features_grad) {
  const DensePaCoLoss dense(args);
  const PaCoLossRecord record = empty_record(args, features_grad);
  run("paco_loss_partial",
      [&] { cpu::paco_loss_partial(dense.problem, records_of(record), torch_threads()); });
  return record;
}

PaCoLossCombined combine_cpu(const PaCoLossCombineArguments& args) {
  DensePaCoLoss dense(args);
  const PaCoLossRecords shares = dense.records(args);
  const PaCoLossCombined result = empty_combined(args);
  run("paco_loss_combine",
      [&] { cpu::paco_loss_combine(dense.problem, shares, output_of(result), torch_threads()); });
  return result;
}

PaCoLossInputGradients partial_backward_cpu(const PaCoLossPartialBackwardArguments& args) {
  DensePaCoLoss dense(args.share);
  const PaCoLossInputGradients result = empty_partial_gradients(args);
  prefer_huge_pages(result.center_logits);
  const PaCoLossGradients gradients = dense.gradients(args, result);
  run("paco_loss_partial",
      [&] { cpu::paco_loss_backward(dense.problem, gradients, torch_threads()); });
  return result;
}

BCLLossState bcl_forward_cpu(const BCLLossArguments& args, bool gradient) {
  const auto dtype = args.features.scalar_type();
  if (dtype != accumulate_type(dtype)) {
    // Rows of 16 bits are computed with in float32: three products of it are faster than four of
    // bfloat16.
    const auto wide = [](const at::Tensor& rows) { return rows.to(at::kFloat); };
    const auto features = wide(args.features);
    const auto prototypes = wide(args.prototypes);
    const auto queue = args.queue ? std::optional(wide(*args.queue)) : std::nullopt;
    const auto state = bcl_forward_cpu({features, args.labels, prototypes, queue, args.queue_labels,
                                        args.num_valid, args.temperature},
                                       gradient);
    return {state.loss, state.gradient.to(dtype)};
  }
  const DenseBCLLoss dense(args);
  const BCLLossState state = empty_state(args, gradient);
  prefer_huge_pages(state.gradient);
  run("bcl_loss", [&] {
    cpu::bcl_loss(dense.problem,
                  {.loss = state.loss.mutable_data_ptr(),
                   .gradient = gradient ? state.gradient.mutable_data_ptr() : nullptr},
                  torch_threads());
  });
  return state;
}

void enqueue_cpu(const QueueEnqueueArguments& args) {
  run("queue_enqueue_", [&] { cpu::queue_enqueue(queue_enqueue_problem(args), torch_threads()); });
}

VmfLogitsState vmf_forward_cpu(const VmfLogitsArguments& args, bool features_grad) {
  const DenseVmf dense(args);
  const VmfLogitsState state = empty_vmf_state(args, features_grad);
  prefer_huge_pages(state.logits);
  prefer_huge_pages(state.slope);
  run("vmf_logits", [&] {
    cpu::vmf_logits_forward(dense.problem,
                            {.logits = state.logits.mutable_data_ptr(),
                             .slope = features_grad ? state.slope.mutable_data_ptr() : nullptr},
                            torch_threads());
  });
  return state;
}

at::Tensor vmf_backward_cpu(const VmfLogitsBackwardArguments& args) {
  const DenseVmf dense(args.forward);
  const auto grad_logits = args.grad_logits.contiguous();
  const auto slope = args.slope.contiguous();
  auto result = at::empty(args.forward.features.sizes(), args.forward.features.options());
  const VmfGradients gradients{.grad_logits = grad_logits.const_data_ptr(),
                               .slope = slope.const_data_ptr(),
                               .grad_features = result.mutable_data_ptr()};
  cpu::vmf_logits_backward(dense.problem, gradients, torch_threads());
  return result;
}

void class_mean_update_cpu(const ClassMeanUpdateArguments& args) {
  run("class_mean_update_",
      [&] { cpu::class_mean_update(class_mean_problem(args), torch_threads()); });
}

}  // namespace

TORCH_LIBRARY_IMPL(paco, CPU, m) {
  m.impl("paco_loss_forward", TORCH_FN(forward_adaptor<forward_cpu>));
  m.impl("paco_loss_backward", TORCH_FN(backward_adaptor<backward_cpu>));
  m.impl("paco_loss_partial", TORCH_FN(partial_adaptor<partial_cpu>));
  m.impl("paco_loss_combine", TORCH_FN(combine_adaptor<combine_cpu>));
  m.impl("paco_loss_partial_backward", TORCH_FN(partial_backward_adaptor<partial_backward_cpu>));
  m.impl("bcl_loss_forward", TORCH_FN(bcl_forward_adaptor<bcl_forward_cpu>));
  m.impl("queue_enqueue_", TORCH_FN(queue_enqueue_adaptor<enqueue_cpu>));
  m.impl("vmf_logits_forward", TORCH_FN(vmf_forward_adaptor<vmf_forward_cpu>));
  m.impl("vmf_logits_backward", TORCH_FN(vmf_backward_adaptor<vmf_backward_cpu>));
  m.impl("class_mean_update_", TORCH_FN(class_mean_update_adaptor<class_mean_update_cpu>));
}

}  // namespace paco
