#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

// The CUDA kernels of paco_loss behind a C++ interface without templates and without ATen: raw
// pointers on the current device, and a stream. Nothing here allocates or waits. Symbols are those
// of ops/paco_loss.h.
namespace paco::cuda {

enum class FeatureType {
  kFloat32,  // products in full precision
  kTf32,     // float32, products on the tensor cores
  kFloat16,
  kBFloat16,
};

// All matrices are row-major and dense. Pointers of absent arguments are null.
struct PaCoLossInput {
  FeatureType feature_type;
  bool float_logits;            // center_logits: float32, or as the features
  const void* features;         // [M, D]
  const int64_t* labels;        // [M]
  const void* center_logits;    // [A, C]
  const void* queue;            // [K, D]
  const int64_t* queue_labels;  // [K]
  const int64_t* queue_size;    // [1]
  const float* anchor_weight;   // [A]
  int64_t num_rows;             // M
  int64_t num_anchors;          // A
  int64_t queue_rows;           // K, 0 without queue
  int64_t num_classes;          // C, 0 without centers
  int64_t dim;                  // D
  double alpha;
  double beta;
  double gamma;
  double temperature;
  double base_temperature;
  double label_smoothing;
};

struct PaCoLossForwardOutput {
  float* loss;           // []
  float* log_partition;  // [A]
  float* pair_weight;    // [A]
  float* anchor_grad;    // [A, D], null where not wanted
};

struct PaCoLossBackwardInput {
  const float* grad_loss;      // []
  const float* log_partition;  // [A]
  const float* pair_weight;    // [A]
  const float* anchor_grad;    // [A, D], null where grad_features is
  void* grad_features;         // [M, D], as the features; null where not wanted
  void* grad_center_logits;    // [A, C], as center_logits; null where not wanted
};

// How the columns are divided, and the scratch memory that this takes.
struct PaCoLossPlan {
  int num_shares;
  int64_t workspace_bytes;
};

// Whether the kernels take rows of `dim` features of this type on the current device: an sm_80 or
// later with shared memory for the tiles, and at most 256 features.
cudaError_t paco_loss_supported(FeatureType type, int64_t dim, bool& supported);

cudaError_t plan_paco_loss_forward(const PaCoLossInput& input, bool features_grad,
                                   PaCoLossPlan& plan);

// `workspace` is aligned to 16 bytes. All work is in order on `stream`.
cudaError_t launch_paco_loss_forward(const PaCoLossInput& input, const PaCoLossPlan& plan,
                                     void* workspace, const PaCoLossForwardOutput& output,
                                     cudaStream_t stream);

cudaError_t launch_paco_loss_backward(const PaCoLossInput& input,
                                      const PaCoLossBackwardInput& gradients, cudaStream_t stream);

}  // namespace paco::cuda
