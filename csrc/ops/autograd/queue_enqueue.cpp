#include "../queue_enqueue.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

namespace paco {
namespace {

// Keys enter the queue as values. The written tensors still get a new version, so that a backward
// pass that saved one of them says so instead of using the overwritten rows.
void queue_enqueue_autograd(const at::Tensor& queue, const at::Tensor& queue_labels,
                            const at::Tensor& queue_state, const at::Tensor& keys,
                            const at::Tensor& labels) {
  TORCH_CHECK_VALUE(!queue.requires_grad(),
                    "queue_enqueue_: queue must not require a gradient (none flows to it)");
  {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    queue_enqueue_(queue, queue_labels, queue_state, keys, labels);
  }
  for (const auto* written : {&queue, &queue_labels, &queue_state}) {
    if (!written->is_inference()) written->unsafeGetTensorImpl()->bump_version();
  }
}

}  // namespace
}  // namespace paco

TORCH_LIBRARY_IMPL(paco, Autograd, m) {
  m.impl("queue_enqueue_", TORCH_FN(paco::queue_enqueue_autograd));
}
