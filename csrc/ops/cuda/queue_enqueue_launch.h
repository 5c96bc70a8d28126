#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

// The CUDA kernel of queue_enqueue_ behind a C++ interface without templates and without ATen.
namespace paco::cuda {

enum class QueueType { kFloat64, kFloat32, kFloat16, kBFloat16 };

struct StridedArray {
  void* data;
  int64_t row_stride;  // strides in elements
  int64_t column_stride;
};

struct QueueEnqueueInput {
  QueueType queue_type;
  QueueType key_type;
  StridedArray queue;         // [K, D], written
  StridedArray queue_labels;  // [K] int64, written
  StridedArray queue_state;   // [2] int64, written
  StridedArray keys;          // [B, D], B > 0
  StridedArray labels;        // [B] int64
  int64_t queue_rows;         // K
  int64_t num_keys;           // B
  int64_t dim;                // D
};

// Whether the kernel converts keys of one type to rows of the other.
bool queue_enqueue_converts(QueueType key_type, QueueType queue_type);

// One launch on `stream`; the write pointer stays on the device.
cudaError_t launch_queue_enqueue(const QueueEnqueueInput& input, cudaStream_t stream);

}  // namespace paco::cuda
