#include "bcl_loss_arguments.h"
#include "tensor_checks.h"

namespace paco {
namespace {

constexpr const char* kBCLLoss = "bcl_loss";

}  // namespace

void check_bcl_loss(const BCLLossArguments& args) {
  const at::Tensor& features = args.features;
  const at::Tensor& prototypes = args.prototypes;
  check_temperature(kBCLLoss, args.temperature);
  check_features(kBCLLoss, features);
  check_computable(kBCLLoss, "temperature", args.temperature,
                   accumulate_type(features.scalar_type()));
  check_labels(kBCLLoss, "labels", args.labels, "features", features);
  PACO_CHECK(kBCLLoss,
             prototypes.dim() == 2 && prototypes.sym_size(0) > 0 &&
                 prototypes.sym_size(1) == features.sym_size(1),
             "prototypes must be [C, D] with at least one row and the D of features ",
             features.sym_sizes(), ", got ", prototypes.sym_sizes());
  check_strided(kBCLLoss, "prototypes", prototypes);
  PACO_CHECK(kBCLLoss, prototypes.scalar_type() == features.scalar_type(), "prototypes must be ",
             features.scalar_type(), " (as features), got ", prototypes.scalar_type());
  check_device(kBCLLoss, "prototypes", prototypes, "features", features);
  check_queue(kBCLLoss, features, args.queue, args.queue_labels, args.num_valid);
}

void check_bcl_loss_backward(const BCLLossBackwardArguments& args) {
  const at::Tensor& features = args.features;
  const at::Tensor& gradient = args.gradient;
  PACO_CHECK(kBCLLoss, args.grad_loss.dim() == 0, "grad_loss must be a scalar, got ",
             args.grad_loss.sym_sizes());
  check_device(kBCLLoss, "grad_loss", args.grad_loss, "features", features);
  PACO_CHECK(kBCLLoss,
             gradient.dim() == 2 &&
                 gradient.sym_size(0) == features.sym_size(0) + args.prototypes.sym_size(0) &&
                 gradient.sym_size(1) == features.sym_size(1),
             "gradient must be [M + C, D] of features ", features.sym_sizes(), " and prototypes ",
             args.prototypes.sym_sizes(), ", got ", gradient.sym_sizes());
  check_device(kBCLLoss, "gradient", gradient, "features", features);
}

}  // namespace paco
