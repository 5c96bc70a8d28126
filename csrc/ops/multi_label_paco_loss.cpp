#include "multi_label_paco_loss.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/Exception.h>

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
  using Signature =
      decltype(multi_label_paco_loss_adaptor<
               static_cast<at::Tensor (*)(const MultiLabelPaCoLossArguments&)>(nullptr)>);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("paco::multi_label_paco_loss", "")
                             .typed<Signature>();
  return op.call(features, labels, center_logits, queue, queue_labels, num_valid, anchor_weight,
                 options.beta, options.gamma, options.base_temperature, options.alpha,
                 options.temperature);
}

}  // namespace paco
