#include <algorithm>
#include <type_traits>

#include "device/queue_enqueue.h"
#include "device_context.cuh"
#include "queue_enqueue.h"
#include "return_if_error.h"

namespace paco::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPointerThreads = 32;
constexpr int64_t kElementsPerThread = 4;
constexpr int64_t kMaxBlocks = 1024;

template <typename Queue, typename Key>
__global__ void __launch_bounds__(kThreads) copy_keys_kernel(const QueueEnqueueProblem problem) {
  DeviceContext<kThreads> context;
  copy_keys<Queue, Key>(context, problem);
}

__global__ void __launch_bounds__(kPointerThreads)
    advance_pointer_kernel(const QueueEnqueueProblem problem) {
  DeviceContext<kPointerThreads> context;
  advance_pointer(context, problem);
}

// Conversions go through float: float64 is only ever copied.
template <typename Queue, typename Key>
constexpr bool kConverts =
    std::is_same_v<Queue, Key> || !(std::is_same_v<Queue, double> || std::is_same_v<Key, double>);

template <typename T>
struct TypeTag {
  using Type = T;
};

template <typename Body>
auto with_type(ElementType type, const Body& body) {
  switch (type) {
    case ElementType::kFloat64:
      return body(TypeTag<double>{});
    case ElementType::kFloat32:
      return body(TypeTag<float>{});
    case ElementType::kFloat16:
      return body(TypeTag<Float16>{});
    default:
      return body(TypeTag<BFloat16>{});
  }
}

using Kernel = void (*)(QueueEnqueueProblem);

// Null where keys are not converted.
Kernel copy_kernel(ElementType queue_type, ElementType key_type) {
  return with_type(queue_type, [&](auto queue) {
    return with_type(key_type, [&](auto key) -> Kernel {
      using Queue = typename decltype(queue)::Type;
      using Key = typename decltype(key)::Type;
      if constexpr (kConverts<Queue, Key>) {
        return copy_keys_kernel<Queue, Key>;
      } else {
        return nullptr;
      }
    });
  });
}

}  // namespace

bool queue_enqueue_converts(ElementType key_type, ElementType queue_type) {
  return copy_kernel(queue_type, key_type) != nullptr;
}

cudaError_t launch_queue_enqueue(const QueueEnqueueProblem& problem, cudaStream_t stream) {
  const Kernel copy = copy_kernel(problem.queue_type, problem.key_type);
  if (copy == nullptr) return cudaErrorInvalidValue;
  const int64_t kept = smaller(problem.num_keys, problem.queue_rows);
  const int64_t wanted =
      divide_up(kept * std::max(problem.dim, problem.label_columns), kThreads * kElementsPerThread);
  const auto blocks = static_cast<unsigned>(std::clamp<int64_t>(wanted, 1, kMaxBlocks));
  copy<<<blocks, kThreads, 0, stream>>>(problem);
  PACO_RETURN_IF_ERROR(cudaGetLastError());
  advance_pointer_kernel<<<1, kPointerThreads, 0, stream>>>(problem);
  return cudaGetLastError();
}

}  // namespace paco::cuda
