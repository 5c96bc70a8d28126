#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "anchors.h"
#include "check_values.h"
#include "class_sums.h"
#include "columns.h"
#include "paco_loss.h"
#include "pair_stream.h"

namespace paco::cpu {
namespace {

// 0, or NaN where a number is NaN or infinite.
template <typename T>
double poison(const Segment& segment, const Threads& threads) {
  const Rows& rows = segment.rows;
  std::vector<T> sums(rows.size);
  threads.parallel_for(0, rows.size, kThreadNumbers / rows.dim + 1,
                       [&](int64_t begin, int64_t end) {
                         std::vector<T> buffer;
                         for (int64_t j = begin; j < end; ++j) {
                           sums[j] = row_kernels<T>().sum(row_numbers(rows, j, buffer), rows.dim);
                         }
                       });
  double result = 0;
  for (const T sum : sums) result += static_cast<double>(sum) * 0;
  return result;
}

template <typename T>
void forward(const PaCoLossProblem& problem, const PaCoLossOutput& output, const Threads& threads) {
  check_values<T>(problem);
  const std::vector<Segment> segments = column_segments(problem);
  const int64_t num_anchors = problem.num_anchors;

  ClassSums<T> classes(problem.labels, problem.alpha > 0 ? num_anchors : 0, problem.dim);
  if (problem.alpha > 0) {
    for (const Segment& segment : segments) {
      classes.add(segment.rows, segment.labels, /*factors=*/nullptr, threads);
    }
  }
  auto* const anchor_grad = static_cast<T*>(output.anchor_grad);
  // Exponentials of pairs are needed for gamma alone.
  std::optional<PairStream<T>> pairs;
  if (problem.gamma > 0) {
    pairs.emplace(problem, segments, anchor_grad, threads);
  } else if (anchor_grad != nullptr) {
    std::fill_n(anchor_grad, num_anchors * problem.dim, T(0));
  }

  const AnchorFinish<T> finish{problem,
                               classes,
                               pairs ? &*pairs : nullptr,
                               output.log_partition,
                               static_cast<T*>(output.pair_weight),
                               anchor_grad};
  const Rows anchors = segments[0].rows.narrow(0, num_anchors);
  const Rows logits{problem.center_logits, problem.center_type, num_anchors, problem.num_classes,
                    problem.num_classes};
  std::vector<double> losses(num_anchors);
  threads.parallel_for(0, num_anchors, /*grain_size=*/16, [&](int64_t begin, int64_t end) {
    std::vector<T> anchor_buffer;
    std::vector<T> logits_buffer;
    for (int64_t i = begin; i < end; ++i) {
      CenterTerms<T> center;
      if (logits.data != nullptr) {
        center =
            CenterTerms<T>(row_numbers(logits, i, logits_buffer), logits.dim, problem.labels[i],
                           problem.label_smoothing, soft_targets_of<T>(problem, i));
      }
      losses[i] = finish(i, row_numbers(anchors, i, anchor_buffer), center);
    }
  });

  double loss = 0;
  for (const double value : losses) loss += value;
  loss /= static_cast<double>(num_anchors);
  if (!pairs) {  // the rows took part in no product
    for (const Segment& segment : segments) loss += poison<T>(segment, threads);
  }
  *static_cast<T*>(output.loss) = static_cast<T>(loss);
}

}  // namespace

void paco_loss_forward(const PaCoLossProblem& problem, const PaCoLossOutput& output,
                       const Threads& threads) {
  problem.type == ElementType::kFloat64 ? forward<double>(problem, output, threads)
                                        : forward<float>(problem, output, threads);
}

}  // namespace paco::cpu
