// From the structs of tensors to the plain ones of the kernels.

#include "paco_loss_arguments.h"
#include "queue_enqueue_arguments.h"

namespace paco {
namespace {

ElementType element_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return ElementType::kFloat64;
    case at::kHalf:
      return ElementType::kFloat16;
    case at::kBFloat16:
      return ElementType::kBFloat16;
    default:  // the checks let no other through
      return ElementType::kFloat32;
  }
}

StridedArray strided(const at::Tensor& tensor, void* data) {
  return {data, tensor.stride(0), tensor.dim() > 1 ? tensor.stride(1) : 0};
}

StridedArray written(const at::Tensor& tensor) {
  return strided(tensor, tensor.mutable_data_ptr());
}

StridedArray read(const at::Tensor& tensor) {
  return strided(tensor, const_cast<void*>(tensor.const_data_ptr()));
}

}  // namespace

at::Tensor apart_from(const at::Tensor& written, const at::Tensor& values) {
  return values.is_alias_of(written) ? values.clone() : values;
}

QueueEnqueueProblem queue_enqueue_problem(const QueueEnqueueArguments& args) {
  return {
      .queue_type = element_type(args.queue),
      .key_type = element_type(args.keys),
      .queue = written(args.queue),
      .queue_labels = written(args.queue_labels),
      .queue_state = written(args.queue_state),
      .keys = read(args.keys),
      .labels = read(args.labels),
      .queue_rows = args.queue.size(0),
      .num_keys = args.keys.size(0),
      .dim = args.queue.size(1),
  };
}

DensePaCoLoss::DensePaCoLoss(const PaCoLossArguments& args) : problem{} {
  set_anchors(args.features, args.labels, args.center_logits, args.anchor_weight, args.class_counts,
              args.options);
  problem.num_anchors = args.count_anchors().expect_int();
  if (!args.queue) return;
  // On the CPU a queue whose rows are dense is used where it lies.
  const bool usable = args.queue->is_cpu() && args.queue->stride(1) == 1;
  const at::Tensor queue = keep(usable ? *args.queue : args.queue->contiguous());
  problem.queue = queue.const_data_ptr();
  problem.queue_rows = queue.size(0);
  problem.queue_stride = queue.stride(0);
  problem.queue_labels = labels(*args.queue_labels);
  if (args.num_valid) problem.num_valid = labels(*args.num_valid);
}

DensePaCoLoss::DensePaCoLoss(const PaCoLossBackwardArguments& args) : problem{} {
  set_anchors(args.features, args.labels, args.center_logits, args.anchor_weight, args.class_counts,
              args.options);
  problem.num_anchors = args.log_partition.size(0);
}

const int64_t* DensePaCoLoss::labels(const at::Tensor& tensor) {
  return keep(tensor.contiguous()).const_data_ptr<int64_t>();
}

void DensePaCoLoss::set_anchors(const at::Tensor& features, const at::Tensor& labels,
                                const OptionalTensor& center_logits,
                                const OptionalTensor& anchor_weight,
                                const OptionalTensor& class_counts,
                                const PaCoLossOptions& options) {
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
  if (anchor_weight) {
    const auto dtype = accumulate_type(features.scalar_type());
    problem.anchor_weight = keep(anchor_weight->to(dtype).contiguous()).const_data_ptr();
  }
  problem.alpha = options.alpha;
  problem.beta = options.beta;
  problem.gamma = options.gamma;
  problem.temperature = options.temperature;
  problem.base_temperature = options.base_temperature.value_or(options.temperature);
  problem.label_smoothing = options.label_smoothing;
}

}  // namespace paco
