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

}  // namespace paco
