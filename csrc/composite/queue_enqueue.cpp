#include <ATen/ops/arange.h>

#include <algorithm>

#include "composite.h"

namespace paco::composite {

void queue_enqueue_(const QueueEnqueueArguments& args) {
  const int64_t capacity = args.queue.size(0);
  const int64_t batch = args.keys.size(0);
  const int64_t kept = std::min(batch, capacity);
  const auto pointer = args.queue_state.select(0, 0);
  const auto rows = at::arange(batch - kept, batch, args.queue_state.options())
                        .add_(pointer)
                        .remainder_(capacity);
  args.queue.index_copy_(0, rows,
                         args.keys.narrow(0, batch - kept, kept).to(args.queue.scalar_type()));
  args.queue_labels.index_copy_(0, rows, args.labels.narrow(0, batch - kept, kept));
  pointer.add_(batch).remainder_(capacity);
  args.queue_state.select(0, 1).add_(batch).clamp_max_(capacity);
}

}  // namespace paco::composite
