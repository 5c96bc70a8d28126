#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>

#include <limits>

#include "check_values.h"
#include "composite.h"

namespace paco::composite {

// Every row finds the sum of its class, and rows of a class write what the first of them found:
// adding rows up in the means would leave the order to the device.
void class_mean_update_(const ClassMeanUpdateArguments& args) {
  const at::Tensor& labels = args.labels;
  check_values("class_mean_update_", args.class_count.ge(0).all(), "class_count must be >= 0");
  check_values("class_mean_update_",
               labels.ge(0).logical_and_(labels.lt(args.class_count.size(0))).all(),
               "labels must lie in [0, C), C the rows of class_mean");
  if (labels.size(0) == 0) return;
  const auto same = labels.unsqueeze(1).eq(labels.unsqueeze(0));
  const auto added = same.sum(1);
  const auto count = args.class_count.index_select(0, labels);
  const auto total = count + added;
  // A row of another class that is not finite must not matter: a product with 0 would let it.
  const auto features = args.features.to(at::kDouble);
  const auto finite = features.isfinite();
  const auto weights = same.to(at::kDouble);
  auto sum = weights.matmul(features.masked_fill(finite.logical_not(), 0));
  const auto spoiled = weights.matmul(finite.logical_not().to(at::kDouble)).gt(0);
  sum = sum.masked_fill(spoiled, std::numeric_limits<double>::quiet_NaN());
  const auto mean = args.class_mean.index_select(0, labels).to(at::kDouble);
  const auto updated = at::where(count.eq(0).unsqueeze(1), sum / total.unsqueeze(1),
                                 mean + (sum - mean * added.unsqueeze(1)) / total.unsqueeze(1));
  const auto first = same.to(at::kInt).argmax(1);
  args.class_mean.index_copy_(0, labels,
                              updated.index_select(0, first).to(args.class_mean.scalar_type()));
  args.class_count.index_copy_(0, labels, total);
}

}  // namespace paco::composite
