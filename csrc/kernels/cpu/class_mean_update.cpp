#include "class_mean_update.h"

#include <cstdint>
#include <vector>

#include "check_values.h"
#include "class_sums.h"
#include "rows.h"

namespace paco::cpu {
namespace {

template <typename T>
void update(const ClassMeanProblem& problem, const Threads& threads) {
  const int64_t dim = problem.dim;
  ClassSums<T> classes(problem.labels, problem.num_rows, dim);
  classes.add({problem.features, problem.feature_type, problem.num_rows, dim, dim}, problem.labels,
              /*factors=*/nullptr, threads);
  std::vector<int64_t> labels(classes.slots.size());
  for (int64_t j = 0; j < problem.num_rows; ++j) {
    labels[classes.slots[problem.labels[j]]] = problem.labels[j];
  }
  const auto size = static_cast<int64_t>(labels.size());
  threads.parallel_for(0, size, kThreadNumbers / (dim + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      T* const mean = static_cast<T*>(problem.class_mean) + labels[slot] * dim;
      int64_t& count = problem.class_count[labels[slot]];
      const auto added = static_cast<double>(classes.counts[slot]);
      const double share = 1 / (static_cast<double>(count) + added);
      const double* const sum = classes.sum(static_cast<int32_t>(slot));
      // Nothing may be left of a class without rows so far, a NaN included.
      const bool first = count == 0;
      for (int64_t d = 0; d < dim; ++d) {
        mean[d] =
            static_cast<T>(first ? sum[d] * share : mean[d] + (sum[d] - added * mean[d]) * share);
      }
      count += classes.counts[slot];
    }
  });
}

}  // namespace

void class_mean_update(const ClassMeanProblem& problem, const Threads& threads) {
  for (int64_t c = 0; c < problem.num_classes; ++c) {
    if (problem.class_count[c] >= 0) continue;
    refuse("class_count must be >= 0, got ", problem.class_count[c], " at ", c);
  }
  for (int64_t j = 0; j < problem.num_rows; ++j) {
    if (problem.labels[j] >= 0 && problem.labels[j] < problem.num_classes) continue;
    refuse("labels must lie in [0, C), got ", problem.labels[j], " at ", j,
           " with C = ", problem.num_classes);
  }
  problem.mean_type == ElementType::kFloat64 ? update<double>(problem, threads)
                                             : update<float>(problem, threads);
}

}  // namespace paco::cpu
