// From the structs of tensors of the PaCo loss to the plain ones of the kernels, and its results.

#include <ATen/ops/empty.h>

#include "dense_tensors.h"
#include "paco_loss_arguments.h"
#include "paco_loss_partial_arguments.h"

namespace paco {
namespace {

void* written_or_null(const at::Tensor& tensor) {
  return tensor.numel() > 0 ? tensor.mutable_data_ptr() : nullptr;
}

PaCoLossInputGradients empty_gradients(const at::Tensor& features,
                                       const OptionalTensor& center_logits, bool features_grad,
                                       bool center_logits_grad) {
  const auto gradient_of = [](const at::Tensor& input) {
    return at::empty_symint(input.sym_sizes(), input.options());
  };
  const auto unwanted = [&] { return at::empty({0}, features.options()); };
  return {features_grad ? gradient_of(features) : unwanted(),
          center_logits_grad ? gradient_of(*center_logits) : unwanted()};
}

}  // namespace

PaCoLossState empty_state(const PaCoLossArguments& args, bool features_grad) {
  const at::Tensor& features = args.features;
  const auto options = features.options().dtype(accumulate_type(features.scalar_type()));
  const c10::SymInt num_anchors = args.count_anchors();
  return {at::empty({}, options), at::empty_symint({num_anchors}, options.dtype(at::kDouble)),
          at::empty_symint({num_anchors}, options),
          features_grad ? at::empty_symint({num_anchors, features.sym_size(1)}, options)
                        : at::empty({0}, options)};
}

PaCoLossInputGradients empty_gradients(const PaCoLossBackwardArguments& args) {
  return empty_gradients(args.features, args.center_logits, args.features_grad,
                         args.center_logits_grad);
}

PaCoLossRecord empty_record(const PaCoLossPartialArguments& args, bool features_grad) {
  const at::Tensor& anchors = args.anchors;
  const auto options = anchors.options().dtype(accumulate_type(anchors.scalar_type()));
  return {
      at::empty_symint({anchors.sym_size(0), kNumSums}, options.dtype(at::kDouble)),
      at::empty_symint({anchors.sym_size(0), features_grad ? 2 : 1, anchors.sym_size(1)}, options)};
}

PaCoLossCombined empty_combined(const PaCoLossCombineArguments& args) {
  const at::Tensor& anchors = args.anchors;
  const auto options = anchors.options().dtype(accumulate_type(anchors.scalar_type()));
  const c10::SymInt num_anchors = anchors.sym_size(0);
  const auto in_double = [&] {
    return at::empty_symint({num_anchors}, options.dtype(at::kDouble));
  };
  return {in_double(), in_double(), at::empty_symint({num_anchors}, options),
          args.features_grad() ? at::empty_symint(anchors.sym_sizes(), options)
                               : at::empty({0}, options)};
}

PaCoLossInputGradients empty_partial_gradients(const PaCoLossPartialBackwardArguments& args) {
  return empty_gradients(args.share.features, args.share.center_logits, args.features_grad,
                         args.center_logits_grad);
}

PaCoLossOutput output_of(const PaCoLossState& state) {
  return {.loss = state.loss.mutable_data_ptr(),
          .log_partition = state.log_partition.mutable_data_ptr<double>(),
          .pair_weight = state.pair_weight.mutable_data_ptr(),
          .anchor_grad = written_or_null(state.anchor_grad)};
}

PaCoLossOutput output_of(const PaCoLossCombined& result) {
  return {.loss = nullptr,
          .log_partition = result.log_partition.mutable_data_ptr<double>(),
          .pair_weight = result.pair_weight.mutable_data_ptr(),
          .anchor_grad = written_or_null(result.anchor_grad),
          .losses = result.losses.mutable_data_ptr<double>()};
}

DensePaCoLoss::DensePaCoLoss(const PaCoLossArguments& args) {
  set_columns(args);
  if (args.anchor_weight) problem.anchor_weight = dense_wide(*args.anchor_weight, args.features);
  set_queue(problem, args.queue, args.queue_labels, args.num_valid);
  problem.num_anchors = args.count_anchors().expect_int();
}

DensePaCoLoss::DensePaCoLoss(const PaCoLossBackwardArguments& args) {
  set_columns(args);
  if (args.anchor_weight) problem.anchor_weight = dense_wide(*args.anchor_weight, args.features);
  problem.num_anchors = args.log_partition.size(0);
}

DensePaCoLoss::DensePaCoLoss(const PaCoLossPartialArguments& args) {
  set_columns(args);
  set_queue(problem, args.queue, args.queue_labels, args.num_valid);
  problem.num_anchors = args.anchors.size(0);
  PaCoLossShare& share = problem.share;
  share.anchors = dense(args.anchors);
  share.anchor_labels = dense<int64_t>(args.anchor_labels);
  share.anchor_rows = dense<int64_t>(args.anchor_rows);
  if (args.center_logits) share.center_rows = args.center_logits->size(0);
  if (args.num_classes) {
    share.has_class_share = true;
    share.first_class = args.first_class.expect_int();
    share.all_classes = args.num_classes->expect_int();
  }
}

DensePaCoLoss::DensePaCoLoss(const PaCoLossCombineArguments& args) {
  problem.type = element_type(args.anchors);
  problem.features = dense(args.anchors);
  problem.num_rows = problem.num_anchors = args.anchors.size(0);
  problem.dim = args.anchors.size(1);
  if (args.anchor_weight) problem.anchor_weight = dense_wide(*args.anchor_weight, args.anchors);
  set_options(args.options);
}

PaCoLossGradients DensePaCoLoss::gradients(const PaCoLossBackwardArguments& args,
                                           const PaCoLossInputGradients& result) {
  return {.grad_loss = args.grad_loss.const_data_ptr(),
          .log_partition = dense<double>(args.log_partition),
          .pair_weight = dense(args.pair_weight),
          .anchor_grad = args.features_grad ? dense(args.anchor_grad) : nullptr,
          .grad_features = written_or_null(result.features),
          .grad_center_logits = written_or_null(result.center_logits)};
}

PaCoLossGradients DensePaCoLoss::gradients(const PaCoLossPartialBackwardArguments& args,
                                           const PaCoLossInputGradients& result) {
  return {.grad_loss = nullptr,
          .log_partition = dense<double>(args.log_partition),
          .pair_weight = dense(args.pair_weight),
          .anchor_grad = args.features_grad ? dense(args.anchor_grad) : nullptr,
          .grad_features = written_or_null(result.features),
          .grad_center_logits = written_or_null(result.center_logits),
          .grad_losses = dense(args.grad_losses)};
}

PaCoLossRecords records_of(const PaCoLossRecord& record) {
  void* const sums = record.sums.mutable_data_ptr();
  return {.sums = static_cast<PaCoLossSums*>(sums),
          .rows = record.rows.mutable_data_ptr(),
          .num_shares = 1,
          .has_exp_rows = record.rows.size(1) == 2};
}

PaCoLossRecords DensePaCoLoss::records(const PaCoLossCombineArguments& args) {
  // Read, not written.
  return {.sums = static_cast<PaCoLossSums*>(const_cast<void*>(dense(args.sums))),
          .rows = const_cast<void*>(dense(args.rows)),
          .num_shares = args.sums.size(0),
          .has_exp_rows = args.features_grad()};
}

template <typename Arguments>
void DensePaCoLoss::set_columns(const Arguments& args) {
  problem.type = element_type(args.features);
  problem.features = dense(args.features);
  problem.labels = dense<int64_t>(args.labels);
  problem.num_rows = args.features.size(0);
  problem.dim = args.features.size(1);
  if (args.center_logits) {
    problem.center_type = element_type(*args.center_logits);
    problem.center_logits = dense(*args.center_logits);
    problem.num_classes = args.center_logits->size(1);
  }
  if (args.class_counts) {
    problem.class_counts = dense<int64_t>(*args.class_counts);
    problem.num_classes = args.class_counts->size(0);
  }
  if (args.soft_targets) {
    problem.soft_targets = dense_wide(*args.soft_targets, args.features);
  }
  set_options(args.options);
}

void DensePaCoLoss::set_options(const PaCoLossOptions& options) {
  problem.alpha = options.alpha;
  problem.beta = options.beta;
  problem.gamma = options.gamma;
  problem.temperature = options.temperature;
  problem.base_temperature = options.base_temperature.value_or(options.temperature);
  problem.label_smoothing = options.label_smoothing;
}

}  // namespace paco
