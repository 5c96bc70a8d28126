// From the structs of tensors to the plain ones of the kernels, and the results' tensors. Those of
// the PaCo loss are in paco_loss_dense.cpp.

#include <ATen/ops/empty.h>

#include "bcl_loss_arguments.h"
#include "class_mean_update_arguments.h"
#include "queue_enqueue_arguments.h"
#include "vmf_logits_arguments.h"

namespace paco {
namespace {

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
      .label_columns = args.labels.dim() == 2 ? args.labels.size(1) : 1,
      .label_vectors = args.labels.dim() == 2,
  };
}

BCLLossState empty_state(const BCLLossArguments& args, bool gradient) {
  const at::Tensor& features = args.features;
  const auto options = features.options();
  return {at::empty({}, options.dtype(accumulate_type(features.scalar_type()))),
          gradient ? at::empty_symint(
                         {features.sym_size(0) + args.prototypes.sym_size(0), features.sym_size(1)},
                         options)
                   : at::empty({0}, options)};
}

DenseBCLLoss::DenseBCLLoss(const BCLLossArguments& args)
    : problem{.type = element_type(args.features),
              .features = dense(args.features),
              .labels = dense<int64_t>(args.labels),
              .prototypes = dense(args.prototypes),
              .num_rows = args.features.size(0),
              .num_classes = args.prototypes.size(0),
              .dim = args.features.size(1),
              .temperature = args.temperature} {
  set_queue(problem, args.queue, args.queue_labels, args.num_valid);
}

VmfLogitsState empty_vmf_state(const VmfLogitsArguments& args, bool features_grad) {
  const auto options = args.mean_direction.options();
  const auto pairs = [&] {
    return at::empty_symint({args.features.sym_size(0), args.mean_direction.sym_size(0)}, options);
  };
  return {pairs(), features_grad ? pairs() : at::empty({0}, options)};
}

bool vmf_computes_in_double(const VmfLogitsArguments& args) {
  return vmf_computes_in_double(element_type(args.features), args.features.size(1));
}

DenseVmf::DenseVmf(const VmfLogitsArguments& args)
    : problem{.type = element_type(args.features),
              .features = dense(args.features),
              .mean_direction = dense(args.mean_direction),
              .concentration = dense(args.concentration),
              .num_anchors = args.features.size(0),
              .num_classes = args.mean_direction.size(0),
              .dim = args.features.size(1),
              .temperature = args.temperature} {}

ClassMeanProblem class_mean_problem(const ClassMeanUpdateArguments& args) {
  return {.mean_type = element_type(args.class_mean),
          .feature_type = element_type(args.features),
          .class_mean = args.class_mean.mutable_data_ptr(),
          .class_count = args.class_count.mutable_data_ptr<int64_t>(),
          .features = args.features.const_data_ptr(),
          .labels = args.labels.const_data_ptr<int64_t>(),
          .num_classes = args.class_mean.size(0),
          .num_rows = args.features.size(0),
          .dim = args.class_mean.size(1)};
}

}  // namespace paco
