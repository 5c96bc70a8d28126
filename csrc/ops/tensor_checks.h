#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <optional>

#include "checks.h"

#define PACO_CHECK(caller, condition, ...) TORCH_CHECK_VALUE(condition, caller, ": ", __VA_ARGS__)

// What the checks of several operators have in common; `caller` begins the message.
namespace paco {

void check_strided(const char* caller, const char* name, const at::Tensor& tensor);
// float16, bfloat16, float32 or float64
void check_dtype(const char* caller, const char* name, const at::Tensor& tensor);
void check_int64(const char* caller, const char* name, const at::Tensor& tensor);
void check_device(const char* caller, const char* name, const at::Tensor& tensor,
                  const char* other_name, const at::Tensor& other);
// Strided, of the dtype and on the device of the other.
void check_like(const char* caller, const char* name, const at::Tensor& tensor,
                const char* other_name, const at::Tensor& other);
// A gradient, or what a forward pass left: of these sizes, this dtype and the device of the other.
void check_state(const char* caller, const char* name, const at::Tensor& state,
                 c10::SymIntArrayRef sizes, c10::ScalarType dtype, const char* other_name,
                 const at::Tensor& other);

// That no gradient is asked for where none flows.
void check_constant(const char* caller, const char* name, const OptionalTensor& tensor);
// No two numbers of a tensor that is written may share memory, as those of an expanded one do.
void check_no_overlap(const char* caller, const char* name, const at::Tensor& tensor);

void check_positive(const char* caller, const char* name, double value);
void check_not_negative(const char* caller, const char* name, double value);
// Kernels compute with this number in the dtype of the sums, where it must not vanish, and its
// products with the number of rows not overflow.
void check_computable(const char* caller, const char* name, double value, c10::ScalarType dtype);

// The arguments that several losses have.
void check_features(const char* caller, const at::Tensor& features);
void check_labels(const char* caller, const char* name, const at::Tensor& labels,
                  const char* rows_name, const at::Tensor& rows);
// bool [rows, C], which classes each row has
void check_label_vectors(const char* caller, const char* name, const at::Tensor& labels,
                         const char* rows_name, const at::Tensor& rows,
                         const c10::SymInt& num_classes);
void check_queue(const char* caller, const at::Tensor& features, const OptionalTensor& queue,
                 const OptionalTensor& queue_labels, const OptionalTensor& num_valid);
// The same but for the labels themselves.
void check_queue_rows(const char* caller, const at::Tensor& features, const OptionalTensor& queue,
                      const OptionalTensor& queue_labels, const OptionalTensor& num_valid);

// The arguments that the PaCo losses have; shapes of center_logits are their own.
void check_loss_options(const char* caller, const PaCoLossOptions& options, c10::ScalarType dtype);
void check_center_logits_type(const char* caller, const at::Tensor& center_logits,
                              const at::Tensor& features);
void check_class_counts(const char* caller, const at::Tensor& class_counts,
                        const OptionalTensor& center_logits, const at::Tensor& features);
void check_anchor_weight(const char* caller, const at::Tensor& anchor_weight,
                         const c10::SymInt& num_anchors, const char* rows_name,
                         const at::Tensor& rows);
void check_soft_targets(const char* caller, const at::Tensor& soft_targets,
                        const OptionalTensor& center_logits, const PaCoLossOptions& options,
                        const at::Tensor& features);

}  // namespace paco
