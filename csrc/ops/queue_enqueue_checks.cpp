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
  const auto check_vector = [&](const char* name, const at::Tensor& tensor,
                                const c10::SymInt& size) {
    PACO_CHECK(kEnqueue, tensor.dim() == 1 && tensor.sym_size(0) == size, name, " must be [", size,
               "], got ", tensor.sym_sizes());
    check_int64(kEnqueue, name, tensor);
    check_device(kEnqueue, name, tensor, "queue", queue);
  };
  check_vector("queue_state", args.queue_state, 2);
  if (args.queue_labels.dim() == 2) {
    check_label_vectors(kEnqueue, "queue_labels", args.queue_labels, "queue", queue,
                        args.queue_labels.sym_size(1));
    check_label_vectors(kEnqueue, "labels", args.labels, "keys", keys,
                        args.queue_labels.sym_size(1));
  } else {
    check_vector("queue_labels", args.queue_labels, queue.sym_size(0));
    check_vector("labels", args.labels, keys.sym_size(0));
  }
  check_no_overlap(kEnqueue, "queue", queue);
  check_no_overlap(kEnqueue, "queue_labels", args.queue_labels);
  check_no_overlap(kEnqueue, "queue_state", args.queue_state);
}

}  // namespace paco
