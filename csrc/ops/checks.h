#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <optional>

#include "paco_loss.h"

// Everything that shapes, dtypes, devices and scalars can get wrong. Each check throws
// c10::ValueError, which names the argument and its value, works on symbolic shapes, and is called
// once for each kernel of each dispatch key.
namespace paco {

using OptionalTensor = std::optional<at::Tensor>;
inline const OptionalTensor kNone;

struct BCLLossArguments;
struct BCLLossBackwardArguments;
struct CenterLogitsArguments;
struct ClassMeanUpdateArguments;
struct MultiLabelPaCoLossArguments;
struct PaCoLossArguments;
struct PaCoLossBackwardArguments;
struct PaCoLossCombineArguments;
struct PaCoLossPartialArguments;
struct PaCoLossPartialBackwardArguments;
struct QueueEnqueueArguments;
struct VmfLogitsArguments;
struct VmfLogitsBackwardArguments;

void check_paco_loss(const PaCoLossArguments& args);
void check_paco_loss_backward(const PaCoLossBackwardArguments& args);
void check_paco_loss_partial(const PaCoLossPartialArguments& args);
void check_paco_loss_combine(const PaCoLossCombineArguments& args);
void check_paco_loss_partial_backward(const PaCoLossPartialBackwardArguments& args);
void check_multi_label_paco_loss(const MultiLabelPaCoLossArguments& args);
void check_bcl_loss(const BCLLossArguments& args);
void check_bcl_loss_backward(const BCLLossBackwardArguments& args);
void check_center_logits(const CenterLogitsArguments& args);
void check_queue_enqueue(const QueueEnqueueArguments& args);
void check_vmf_logits(const VmfLogitsArguments& args);
void check_vmf_logits_backward(const VmfLogitsBackwardArguments& args);
void check_class_mean_update(const ClassMeanUpdateArguments& args);

// Modules check these when they are made; `caller` begins the message.
void check_loss_options(const char* caller, const PaCoLossOptions& options);
void check_temperature(const char* caller, double temperature);
void check_center_options(const char* caller, bool has_bias, double center_temperature, double tau,
                          std::optional<double> scale);

// The dtype of the loss and of everything the kernels add up: float32 for inputs of 16 and 32 bits,
// float64 for float64.
c10::ScalarType accumulate_type(c10::ScalarType dtype);

}  // namespace paco
