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
  const auto gradient_of = [](const at::Tensor& input) {
    return at::empty_symint(input.sym_sizes(), input.options());
  };
  const auto unwanted = [&] { return at::empty({0}, args.features.options()); };
  return {args.features_grad ? gradient_of(args.features) : unwanted(),
          args.center_logits_grad ? gradient_of(*args.center_logits) : unwanted()};
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
  const auto gradient_of = [](const at::Tensor& input) {
    return at::empty_symint(input.sym_sizes(), input.options());
  };
  const auto unwanted = [&] { return at::empty({0}, args.share.features.options()); };
  return {args.features_grad ? gradient_of(args.share.features) : unwanted(),
          args.center_logits_grad ? gradient_of(*args.share.center_logits) : unwanted()};
}

PaCoLossOutput output_of(const PaCoLossState& state) {
  return {.loss = state.loss.mutable_data_ptr(),
          .log_partition = state.log_partition.mutable_data_ptr<double>(),
          .pair_weight = state.pair_weight.mutable_data_ptr(),
          .anchor_grad = written_or_null(state.anchor_grad)};
}

PaCoLossOutput output_of(const PaCoLossCombined& result, bool features_grad) {
  return {.loss = nullptr,
          .log_partition = result.log_partition.mutable_data_ptr<double>(),
          .pair_weight = result.pair_weight.mutable_data_ptr(),
          .anchor_grad = features_grad ? result.anchor_grad.mutable_data_ptr() : nullptr,
          .losses = result.losses.mutable_data_ptr<double>()};
}

DensePaCoLoss::DensePaCoLoss(const PaCoLossArguments& args) : problem{} {
  set_anchors(args.features, args.labels, args.center_logits, args.anchor_weight, args.class_counts,
              args.options, args.soft_targets);
  problem.num_anchors = args.count_anchors().expect_int();
  set_queue(args.queue, args.queue_labels, args.num_valid);
}

DensePaCoLoss::DensePaCoLoss(const PaCoLossBackwardArguments& args) : problem{} {
  set_anchors(args.features, args.labels, args.center_logits, args.anchor_weight, args.class_counts,
              args.options, args.soft_targets);
  problem.num_anchors = args.log_partition.size(0);
}

PaCoLossGradients DensePaCoLoss::gradients(const PaCoLossBackwardArguments& args,
                                           const PaCoLossInputGradients& result) {
  const auto dense = [&](const at::Tensor& tensor) { return keep(tensor.contiguous()); };
  return {
      .grad_loss = args.grad_loss.const_data_ptr(),
      .log_partition = dense(args.log_partition).const_data_ptr<double>(),
      .pair_weight = dense(args.pair_weight).const_data_ptr(),
      .anchor_grad = args.features_grad ? dense(args.anchor_grad).const_data_ptr() : nullptr,
      .grad_features = written_or_null(result.features),
      .grad_center_logits = written_or_null(result.center_logits),
  };
}

DensePaCoLoss::DensePaCoLoss(const PaCoLossPartialArguments& args) : problem{} {
  set_anchors(args.features, args.labels, args.center_logits, /*anchor_weight=*/std::nullopt,
              args.class_counts, args.options, args.soft_targets);
  problem.num_anchors = args.anchors.size(0);
  set_queue(args.queue, args.queue_labels, args.num_valid);
  PaCoLossShare& share = problem.share;
  share.anchors = keep(args.anchors.contiguous()).const_data_ptr();
  share.anchor_labels = labels(args.anchor_labels);
  share.anchor_rows = labels(args.anchor_rows);
  if (args.center_logits) share.center_rows = args.center_logits->size(0);
  if (args.num_classes) {
    share.has_class_share = true;
    share.first_class = args.first_class.expect_int();
    share.all_classes = args.num_classes->expect_int();
  }
}

DensePaCoLoss::DensePaCoLoss(const PaCoLossCombineArguments& args) : problem{} {
  problem.type = element_type(args.anchors);
  problem.features = keep(args.anchors.contiguous()).const_data_ptr();
  problem.num_rows = problem.num_anchors = args.anchors.size(0);
  problem.dim = args.anchors.size(1);
  if (args.anchor_weight) {
    const auto dtype = accumulate_type(args.anchors.scalar_type());
    problem.anchor_weight = keep(args.anchor_weight->to(dtype).contiguous()).const_data_ptr();
  }
  set_options(args.options);
}

PaCoLossGradients DensePaCoLoss::gradients(const PaCoLossPartialBackwardArguments& args,
                                           const PaCoLossInputGradients& result) {
  const auto dense = [&](const at::Tensor& tensor) { return keep(tensor.contiguous()); };
  return {
      .grad_loss = nullptr,
      .log_partition = dense(args.log_partition).const_data_ptr<double>(),
      .pair_weight = dense(args.pair_weight).const_data_ptr(),
      .anchor_grad = args.features_grad ? dense(args.anchor_grad).const_data_ptr() : nullptr,
      .grad_features = written_or_null(result.features),
      .grad_center_logits = written_or_null(result.center_logits),
      .grad_losses = dense(args.grad_losses).const_data_ptr(),
  };
}

PaCoLossRecords DensePaCoLoss::records(const PaCoLossCombineArguments& args) {
  // Read, not written.
  void* const sums = const_cast<void*>(keep(args.sums.contiguous()).const_data_ptr());
  return {.sums = static_cast<PaCoLossSums*>(sums),
          .rows = const_cast<void*>(keep(args.rows.contiguous()).const_data_ptr()),
          .num_shares = args.sums.size(0),
          .has_exp_rows = args.rows.size(2) == 2};
}

void DensePaCoLoss::set_queue(const OptionalTensor& optional_queue,
                              const OptionalTensor& queue_labels, const OptionalTensor& num_valid) {
  if (!optional_queue) return;
  const at::Tensor queue = keep(rows_where_they_lie(*optional_queue));
  problem.queue = queue.const_data_ptr();
  problem.queue_rows = queue.size(0);
  problem.queue_stride = queue.stride(0);
  problem.queue_labels = labels(*queue_labels);
  if (num_valid) problem.num_valid = labels(*num_valid);
}

const int64_t* DensePaCoLoss::labels(const at::Tensor& tensor) {
  return keep(tensor.contiguous()).const_data_ptr<int64_t>();
}

void DensePaCoLoss::set_anchors(const at::Tensor& features, const at::Tensor& labels,
                                const OptionalTensor& center_logits,
                                const OptionalTensor& anchor_weight,
                                const OptionalTensor& class_counts, const PaCoLossOptions& options,
                                const OptionalTensor& soft_targets) {
  problem.type = element_type(features);
  problem.features = keep(features.contiguous()).const_data_ptr();
  problem.labels = this->labels(labels);
  problem.num_rows = features.size(0);
  problem.dim = features.size(1);
  if (center_logits) {
    problem.center_type = element_type(*center_logits);
    problem.center_logits = keep(center_logits->contiguous()).const_data_ptr();
    problem.num_classes = center_logits->size(1);
  }
  if (class_counts) {
    problem.class_counts = this->labels(*class_counts);
    problem.num_classes = class_counts->size(0);
  }
  const auto dtype = accumulate_type(features.scalar_type());
  if (anchor_weight) {
    problem.anchor_weight = keep(anchor_weight->to(dtype).contiguous()).const_data_ptr();
  }
  if (soft_targets) {
    problem.soft_targets = keep(soft_targets->to(dtype).contiguous()).const_data_ptr();
  }
  set_options(options);
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
