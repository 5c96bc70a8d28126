#pragma once

#include <cstdint>

#include "../../class_mean_problem.h"
#include "../../platform.h"

// The kernel of class_mean_update_: a block has a class, and adds its rows up in their order.
namespace paco::cuda {

template <typename Context, typename T>
PACO_DEVICE double to_double(Context& context, const T& value) {
  return context.to_float(value);
}
template <typename Context>
PACO_DEVICE double to_double(Context&, const double& value) {
  return value;
}

template <typename Mean, typename Feature, typename Context>
PACO_DEVICE void add_to_class(Context& context, const ClassMeanProblem& problem) {
  const int64_t c = context.block_x();
  const int64_t num_rows = problem.num_rows;
  const int64_t dim = problem.dim;
  if (c == 0) {
    for (int64_t j = context.thread(); j < num_rows; j += context.num_threads()) {
      const int64_t label = problem.labels[j];
      context.check(label >= 0 && label < problem.num_classes,
                    "class_mean_update_: labels must lie in [0, C), C the rows of class_mean");
    }
  }
  const int64_t count = problem.class_count[c];
  if (context.thread() == 0) {
    context.check(count >= 0, "class_mean_update_: class_count must be >= 0");
  }
  // Each warp looks through the labels by itself, 32 at a time, for all its dimensions; once more
  // for those beyond the threads of the block.
  int64_t added = 0;
  for (int64_t first = 0; first < dim; first += context.num_threads()) {
    const int64_t d = first + context.thread();
    double sum = 0;
    added = 0;
    for (int64_t j = 0; j < num_rows; j += 32) {
      const int64_t mine = j + context.lane();
      uint32_t found = context.ballot(mine < num_rows && problem.labels[mine] == c);
      added += context.count_bits(found);
      for (; found != 0; found &= found - 1) {
        const int64_t row = j + context.first_bit(found);
        if (d < dim) {
          sum += to_double(context, static_cast<const Feature*>(problem.features)[row * dim + d]);
        }
      }
    }
    if (added == 0) return;  // every thread of the block has found the same
    if (d < dim) {
      Mean& mean = static_cast<Mean*>(problem.class_mean)[c * dim + d];
      const double total = static_cast<double>(count + added);
      mean = static_cast<Mean>(
          count == 0 ? sum / total : mean + (sum - static_cast<double>(added) * mean) / total);
    }
  }
  context.sync();  // the count has been read by all
  if (context.thread() == 0) problem.class_count[c] = count + added;
}

}  // namespace paco::cuda
