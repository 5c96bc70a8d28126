// Dispatch key Meta: checks, shapes and dtypes, for torch.compile and torch.export.

#include <torch/library.h>

#include "paco_loss_arguments.h"
#include "queue_enqueue_arguments.h"

namespace paco {
namespace {

// Checked is all there is to do: the operator returns nothing and changes no shape.
void enqueue_meta(const QueueEnqueueArguments& /*args*/) {}

}  // namespace
}  // namespace paco

TORCH_LIBRARY_IMPL(paco, Meta, m) {
  m.impl("paco_loss_forward", TORCH_FN(paco::forward_adaptor<paco::empty_state>));
  m.impl("paco_loss_backward", TORCH_FN(paco::backward_adaptor<paco::empty_gradients>));
  m.impl("queue_enqueue_", TORCH_FN(paco::queue_enqueue_adaptor<paco::enqueue_meta>));
}
