#include "bcl_loss.h"

#include <cstdint>
#include <vector>

#include "bcl_strips.h"
#include "class_sums.h"
#include "row_kernels.h"

namespace paco::cpu {
namespace {

template <typename T>
void forward(const BCLLossProblem& problem, const BCLLossOutput& output, const Threads& threads) {
  const BCLColumns columns(problem);
  const auto& kernels = row_kernels<T>();
  const int64_t dim = problem.dim;
  const int64_t num_rows = problem.num_rows;
  auto* const gradient = static_cast<T*>(output.gradient);
  const auto row = [&](int64_t i) { return static_cast<const T*>(columns.features().at(i)); };

  // Positives by their class sums, S_c of all columns and S'_c of the anchors.
  ClassSums<T> anchors(problem.labels, num_rows, dim);
  anchors.add(columns.features(), problem.labels, /*factors=*/nullptr, threads);
  ClassSums<T> sums = anchors;
  for (size_t s = 1; s < columns.segments.size(); ++s) {
    sums.add(columns.segments[s].rows, columns.segments[s].labels, /*factors=*/nullptr, threads);
  }

  double loss = 0;
  std::vector<T> positives(dim);
  BCLStrips<T>(problem, columns, gradient, threads).run([&](int64_t i, double log_denominator) {
    const int64_t label = problem.labels[i];
    kernels.subtract(positives.data(), sums.sum(sums.slots[label]), row(i), dim, 1);
    const double logits = kernels.dot(row(i), positives.data(), dim) / problem.temperature;
    loss += log_denominator - logits / static_cast<double>(columns.counts[label] - 1);
  });
  *static_cast<T*>(output.loss) = static_cast<T>(loss / static_cast<double>(num_rows));
  if (gradient == nullptr) return;

  // As an anchor a row is drawn to S_c less itself, as contrast to S'_c less itself.
  for (size_t k = 0; k < sums.sums.size(); ++k) sums.sums[k] += anchors.sums[k];
  threads.parallel_for(0, columns.kept, kThreadNumbers / dim + 1, [&](int64_t begin, int64_t end) {
    std::vector<T> positives(dim);
    for (int64_t j = begin; j < end; ++j) {
      const bool is_anchor = j < num_rows;
      const int64_t label = is_anchor ? problem.labels[j] : j - num_rows;
      const int32_t slot = sums.slots[label];
      if (slot == LabelSlots::kAbsent) continue;
      const ClassSums<T>& of = is_anchor ? sums : anchors;
      kernels.subtract(positives.data(), of.sum(slot), row(is_anchor ? j : 0), dim,
                       is_anchor ? 2 : 0);
      const double weight = static_cast<double>(num_rows) * problem.temperature *
                            static_cast<double>(columns.counts[label] - 1);
      kernels.axpby(gradient + j * dim, positives.data(), dim, static_cast<T>(-1 / weight), 1);
    }
  });
}

}  // namespace

void bcl_loss(const BCLLossProblem& problem, const BCLLossOutput& output, const Threads& threads) {
  problem.type == ElementType::kFloat64 ? forward<double>(problem, output, threads)
                                        : forward<float>(problem, output, threads);
}

}  // namespace paco::cpu
