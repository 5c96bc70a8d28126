#include "class_mean_update_arguments.h"
#include "tensor_checks.h"

namespace paco {
namespace {

constexpr const char* kClassMean = "class_mean_update_";

}  // namespace

void check_class_mean_update(const ClassMeanUpdateArguments& args) {
  const at::Tensor& mean = args.class_mean;
  const at::Tensor& features = args.features;
  PACO_CHECK(kClassMean, mean.dim() == 2 && mean.sym_size(0) > 0 && mean.sym_size(1) > 0,
             "class_mean must be [C, D] with at least one row and column, got ", mean.sym_sizes());
  check_strided(kClassMean, "class_mean", mean);
  PACO_CHECK(kClassMean, mean.scalar_type() == at::kFloat || mean.scalar_type() == at::kDouble,
             "class_mean must be float32 or float64, which a mean of many rows needs, got ",
             mean.scalar_type());
  PACO_CHECK(kClassMean, features.dim() == 2 && features.sym_size(1) == mean.sym_size(1),
             "features must be [N, D] with the D of class_mean ", mean.sym_sizes(), ", got ",
             features.sym_sizes());
  check_dtype(kClassMean, "features", features);
  check_device(kClassMean, "features", features, "class_mean", mean);
  check_labels(kClassMean, "class_count", args.class_count, "class_mean", mean);
  check_labels(kClassMean, "labels", args.labels, "features", features);
  check_no_overlap(kClassMean, "class_mean", mean);
  check_no_overlap(kClassMean, "class_count", args.class_count);
}

}  // namespace paco
