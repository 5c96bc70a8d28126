#pragma once

#include <ATen/core/Tensor.h>

#include "../ops/bcl_loss_arguments.h"
#include "../ops/center_logits_arguments.h"
#include "../ops/class_mean_update_arguments.h"
#include "../ops/multi_label_paco_loss_arguments.h"
#include "../ops/paco_loss_arguments.h"
#include "../ops/paco_loss_partial_arguments.h"
#include "../ops/queue_enqueue_arguments.h"
#include "../ops/vmf_logits_arguments.h"

// The operators made of ATen's own, for every device. Their arguments have been checked, but for
// those of center_logits and multi_label_paco_loss, which no adaptor checks.
namespace paco::composite {

// Columns (rows of features, then of the queue) are streamed in tiles with the running maximum and
// rescaling of online softmax, so the largest temporary is [A, tile]. Nothing waits for the device.
PaCoLossState paco_loss_forward(const PaCoLossArguments& args, bool features_grad);
PaCoLossInputGradients paco_loss_backward(const PaCoLossBackwardArguments& args);

// Both are made of these, over one share.
PaCoLossRecord paco_loss_partial(const PaCoLossPartialArguments& args, bool features_grad);
PaCoLossCombined paco_loss_combine(const PaCoLossCombineArguments& args);
PaCoLossInputGradients paco_loss_partial_backward(const PaCoLossPartialBackwardArguments& args);

// Checks values of anchor_rows, center logits and soft targets of a share; labels have their own.
void check_anchor_rows(const PaCoLossPartialArguments& args);
// The inverse of anchor_rows, [M]: the anchor that is a row, or -1.
at::Tensor anchor_of_row(const PaCoLossPartialArguments& args);

// That rows are >= 0 and sum to 1, on a device without waiting for it.
void check_soft_targets(const at::Tensor& targets);

// The center term of a PaCo loss without positives, and the positives by sums over the classes.
at::Tensor multi_label_paco_loss(const MultiLabelPaCoLossArguments& args);

// BCL as a PaCo loss: prototypes are rows that are no anchors, there are no centers, and pairs are
// weighed by the counts of their classes.
BCLLossState bcl_loss_forward(const BCLLossArguments& args, bool gradient);
at::Tensor bcl_loss_backward(const BCLLossBackwardArguments& args);

at::Tensor center_logits(const CenterLogitsArguments& args);

// The write pointer stays on its device, so the rows to write are computed there too.
void queue_enqueue_(const QueueEnqueueArguments& args);

VmfLogitsState vmf_logits_forward(const VmfLogitsArguments& args, bool features_grad);
at::Tensor vmf_logits_backward(const VmfLogitsBackwardArguments& args);
// The concentrations, 0 for a class without a direction; their values and those of mean_direction
// are checked.
at::Tensor checked_concentration(const VmfLogitsArguments& args);

void class_mean_update_(const ClassMeanUpdateArguments& args);

}  // namespace paco::composite
