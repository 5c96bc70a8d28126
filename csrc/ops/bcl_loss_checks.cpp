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
  check_like(kBCLLoss, "prototypes", prototypes, "features", features);
  check_queue(kBCLLoss, features, args.queue, args.queue_labels, args.num_valid);
}

void check_bcl_loss_backward(const BCLLossBackwardArguments& args) {
  const at::Tensor& features = args.features;
  const auto dtype = features.scalar_type();
  const c10::SymInt num_rows = features.sym_size(0) + args.prototypes.sym_size(0);
  check_state(kBCLLoss, "grad_loss", args.grad_loss, {}, accumulate_type(dtype), "features",
              features);
  check_state(kBCLLoss, "gradient", args.gradient, {num_rows, features.sym_size(1)}, dtype,
              "features", features);
}

}  // namespace paco
