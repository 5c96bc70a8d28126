#include "class_mean_update.h"

#include "find_operator.h"

namespace paco {

void class_mean_update_(const at::Tensor& class_mean, const at::Tensor& class_count,
                        const at::Tensor& features, const at::Tensor& labels) {
  static const auto op = find_operator<decltype(class_mean_update_)>("paco::class_mean_update_");
  op.call(class_mean, class_count, features, labels);
}

}  // namespace paco
