#include "multi_label_paco_loss_arguments.h"
#include "tensor_checks.h"

namespace paco {
namespace {

constexpr const char* kMultiLabel = "multi_label_paco_loss";

}  // namespace

void check_multi_label_paco_loss(const MultiLabelPaCoLossArguments& args) {
  const at::Tensor& features = args.features;
  const at::Tensor& center_logits = args.center_logits;
  const PaCoLossOptions& options = args.options;
  check_features(kMultiLabel, features);
  check_loss_options(kMultiLabel, options, accumulate_type(features.scalar_type()));
  PACO_CHECK(kMultiLabel, options.alpha + options.beta > 0, "alpha and beta must not both be 0");
  PACO_CHECK(kMultiLabel,
             center_logits.dim() == 2 && center_logits.sym_size(0) >= 1 &&
                 center_logits.sym_size(0) <= features.sym_size(0) && center_logits.sym_size(1) > 0,
             "center_logits must be [A, C] with A between 1 and the rows of features ",
             features.sym_sizes(), ", got ", center_logits.sym_sizes());
  check_center_logits_type(kMultiLabel, center_logits, features);
  const c10::SymInt num_classes = center_logits.sym_size(1);
  check_label_vectors(kMultiLabel, "labels", args.labels, "features", features, num_classes);
  check_queue_rows(kMultiLabel, features, args.queue, args.queue_labels, args.num_valid);
  if (args.queue) {
    check_label_vectors(kMultiLabel, "queue_labels", *args.queue_labels, "queue", *args.queue,
                        num_classes);
  }
  if (args.anchor_weight) {
    check_anchor_weight(kMultiLabel, *args.anchor_weight, center_logits.sym_size(0), "features",
                        features);
  }
}

}  // namespace paco
