#include "multi_label_paco_loss.h"

#include <c10/util/Exception.h>

#include "find_operator.h"
#include "multi_label_paco_loss_arguments.h"

namespace paco {

at::Tensor multi_label_paco_loss(const at::Tensor& features, const at::Tensor& labels,
                                 const at::Tensor& center_logits,
                                 const std::optional<at::Tensor>& queue,
                                 const std::optional<at::Tensor>& queue_labels,
                                 const std::optional<at::Tensor>& num_valid,
                                 const std::optional<at::Tensor>& anchor_weight,
                                 const PaCoLossOptions& options) {
  // The operator has no such argument.
  TORCH_CHECK_VALUE(options.label_smoothing == 0,
                    "multi_label_paco_loss: label_smoothing must be 0, got ",
                    options.label_smoothing);
  static const auto op = find_operator<decltype(multi_label_paco_loss_adaptor<nullptr>)>(
      "paco::multi_label_paco_loss");
  return op.call(features, labels, center_logits, queue, queue_labels, num_valid, anchor_weight,
                 options.beta, options.gamma, options.base_temperature, options.alpha,
                 options.temperature);
}

}  // namespace paco
