#include <type_traits>

#include "device_context.cuh"
#include "queue_enqueue_body.h"
#include "queue_enqueue_launch.h"

namespace paco::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kElementsPerThread = 4;
constexpr int64_t kMaxBlocks = 1024;

template <typename Queue, typename Key>
__global__ void __launch_bounds__(kThreads)
    enqueue_keys_kernel(const QueueEnqueueArguments<Queue, Key> arguments) {
  DeviceContext<kThreads> context;
  enqueue_keys(context, arguments);
}

template <typename T>
Strided<T> strided(const StridedArray& array) {
  return {static_cast<T*>(array.data), array.row_stride, array.column_stride};
}

template <typename Queue, typename Key>
cudaError_t launch(const QueueEnqueueInput& input, cudaStream_t stream) {
  const QueueEnqueueArguments<Queue, Key> arguments{
      strided<Queue>(input.queue),
      strided<int64_t>(input.queue_labels),
      strided<int64_t>(input.queue_state),
      strided<const Key>(input.keys),
      strided<const int64_t>(input.labels),
      input.queue_rows,
      input.num_keys,
      input.dim,
  };
  const int64_t kept = input.num_keys < input.queue_rows ? input.num_keys : input.queue_rows;
  const int64_t per_block = kThreads * kElementsPerThread;
  const int64_t wanted = (kept * input.dim + per_block - 1) / per_block;
  const int64_t blocks = wanted < 1 ? 1 : wanted > kMaxBlocks ? kMaxBlocks : wanted;
  enqueue_keys_kernel<<<static_cast<unsigned>(blocks), kThreads, sizeof(int64_t), stream>>>(
      arguments);
  return cudaGetLastError();
}

template <typename T>
struct TypeTag {
  using type = T;
};

template <typename Body>
cudaError_t with_type(QueueType type, const Body& body) {
  switch (type) {
    case QueueType::kFloat64:
      return body(TypeTag<double>{});
    case QueueType::kFloat32:
      return body(TypeTag<float>{});
    case QueueType::kFloat16:
      return body(TypeTag<Float16>{});
    case QueueType::kBFloat16:
      return body(TypeTag<BFloat16>{});
  }
  return cudaErrorInvalidValue;
}

// Conversions go through float: float64 is only ever copied.
template <typename Queue, typename Key>
constexpr bool kConverts =
    std::is_same_v<Queue, Key> || !(std::is_same_v<Queue, double> || std::is_same_v<Key, double>);

}  // namespace

bool queue_enqueue_converts(QueueType key_type, QueueType queue_type) {
  return key_type == queue_type ||
         !(key_type == QueueType::kFloat64 || queue_type == QueueType::kFloat64);
}

cudaError_t launch_queue_enqueue(const QueueEnqueueInput& input, cudaStream_t stream) {
  return with_type(input.queue_type, [&](auto queue) {
    return with_type(input.key_type, [&](auto key) {
      using Queue = typename decltype(queue)::type;
      using Key = typename decltype(key)::type;
      if constexpr (kConverts<Queue, Key>) {
        return launch<Queue, Key>(input, stream);
      } else {
        return cudaErrorInvalidValue;
      }
    });
  });
}

}  // namespace paco::cuda
