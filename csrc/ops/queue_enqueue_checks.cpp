#include "queue_enqueue_arguments.h"
#include "tensor_checks.h"

namespace paco {
namespace {

constexpr const char* kEnqueue = "queue_enqueue_";

}  // namespace

void check_queue_enqueue(const QueueEnqueueArguments& args) {
  const at::Tensor& queue = args.queue;
  const at::Tensor& keys = args.keys;
  PACO_CHECK(kEnqueue, queue.dim() == 2 && queue.sym_size(0) > 0,
             "queue must be [K, D] with K > 0, got ", queue.sym_sizes());
  check_dtype(kEnqueue, "queue", queue);
  PACO_CHECK(kEnqueue, keys.dim() == 2 && keys.sym_size(1) == queue.sym_size(1),
             "keys must be [B, D] with the D of queue ", queue.sym_sizes(), ", got ",
             keys.sym_sizes());
  check_dtype(kEnqueue, "keys", keys);
  check_device(kEnqueue, "keys", keys, "queue", queue);
  check_state(kEnqueue, "queue_state", args.queue_state, {2}, at::kLong, "queue", queue);
  if (args.queue_labels.dim() == 2) {
    check_label_vectors(kEnqueue, "queue_labels", args.queue_labels, "queue", queue,
                        args.queue_labels.sym_size(1));
    check_label_vectors(kEnqueue, "labels", args.labels, "keys", keys,
                        args.queue_labels.sym_size(1));
  } else {
    check_labels(kEnqueue, "queue_labels", args.queue_labels, "queue", queue);
    check_labels(kEnqueue, "labels", args.labels, "keys", keys);
  }
  check_no_overlap(kEnqueue, "queue", queue);
  check_no_overlap(kEnqueue, "queue_labels", args.queue_labels);
  check_no_overlap(kEnqueue, "queue_state", args.queue_state);
}

}  // namespace paco
