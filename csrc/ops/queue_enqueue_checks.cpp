#include "queue_enqueue_checks.h"

#include <c10/util/Exception.h>

#define PACO_CHECK(condition, ...) TORCH_CHECK_VALUE(condition, "queue_enqueue_: ", __VA_ARGS__)

namespace paco {
namespace {

void check_int64(const char* name, const at::Tensor& tensor, const c10::SymInt& size) {
  PACO_CHECK(tensor.dim() == 1 && tensor.sym_size(0) == size, name, " must be [", size, "], got ",
             tensor.sym_sizes());
  PACO_CHECK(tensor.scalar_type() == at::kLong, name, " must be int64, got ", tensor.scalar_type());
}

void check_device(const char* name, const at::Tensor& tensor, const at::Tensor& queue) {
  PACO_CHECK(tensor.device() == queue.device(), name, " must be on the device of queue (",
             queue.device(), "), got ", tensor.device());
}

}  // namespace

void check_queue_enqueue(const at::Tensor& queue, const at::Tensor& queue_labels,
                         const at::Tensor& queue_state, const at::Tensor& keys,
                         const at::Tensor& labels) {
  PACO_CHECK(queue.dim() == 2 && queue.sym_size(0) > 0, "queue must be [K, D] with K > 0, got ",
             queue.sym_sizes());
  PACO_CHECK(at::isFloatingType(queue.scalar_type()), "queue must be floating, got ",
             queue.scalar_type());
  PACO_CHECK(keys.dim() == 2 && keys.sym_size(1) == queue.sym_size(1),
             "keys must be [B, D] with the D of queue ", queue.sym_sizes(), ", got ",
             keys.sym_sizes());
  PACO_CHECK(at::isFloatingType(keys.scalar_type()), "keys must be floating, got ",
             keys.scalar_type());
  check_int64("queue_labels", queue_labels, queue.sym_size(0));
  check_int64("queue_state", queue_state, 2);
  check_int64("labels", labels, keys.sym_size(0));
  check_device("queue_labels", queue_labels, queue);
  check_device("queue_state", queue_state, queue);
  check_device("keys", keys, queue);
  check_device("labels", labels, queue);
}

}  // namespace paco
