#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "anchors.h"
#include "check_values.h"
#include "columns.h"
#include "paco_loss.h"

namespace paco::cpu {
namespace {

constexpr int64_t kAnchorGrain = 16;

template <typename T>
void partial(const PaCoLossProblem& problem, const PaCoLossRecords& record,
             const Threads& threads) {
  check_values<T>(problem);
  const int64_t dim = problem.dim;
  std::vector<T> exp_rows(record.has_exp_rows ? problem.num_anchors * dim : 0);
  AnchorShare<T> share(problem, record.has_exp_rows ? exp_rows.data() : nullptr, threads);
  const int64_t stride = record.has_exp_rows ? 2 * dim : dim;
  threads.parallel_for(0, problem.num_anchors, kAnchorGrain, [&](int64_t begin, int64_t end) {
    typename AnchorShare<T>::Buffers buffers;
    for (int64_t i = begin; i < end; ++i) {
      T* const rows = static_cast<T*>(record.rows) + i * stride;
      record.sums[i] = share(i, rows, buffers);
      if (!(record.sums[i].positives > 0)) std::fill_n(rows, dim, T(0));
      if (record.has_exp_rows) std::copy_n(exp_rows.data() + i * dim, dim, rows + dim);
    }
  });
}

// The records of anchor i on all shares as one; returns the sums. A share without a pair or a
// center has a sum of 0 at a maximum of -infinity.
template <typename T>
PaCoLossSums join(const PaCoLossRecords& shares, const PaCoLossProblem& problem, int64_t i,
                  T* positive_row, T* exp_row) {
  const auto& kernels = row_kernels<T>();
  const int64_t dim = problem.dim;
  const int64_t stride = shares.has_exp_rows ? 2 * dim : dim;
  PaCoLossSums sums = kNoSums;
  for (int64_t s = 0; s < shares.num_shares; ++s) {
    const PaCoLossSums& part = shares.sums[s * problem.num_anchors + i];
    sums.pair_maximum = std::max(sums.pair_maximum, part.pair_maximum);
    sums.center_maximum = std::max(sums.center_maximum, part.center_maximum);
  }
  std::fill_n(positive_row, dim, T(0));
  if (exp_row != nullptr) std::fill_n(exp_row, dim, T(0));
  const auto rescale = [](double maximum, double joint) {
    return maximum == joint ? (std::isinf(joint) && joint < 0 ? 0 : 1) : std::exp(maximum - joint);
  };
  for (int64_t s = 0; s < shares.num_shares; ++s) {
    const int64_t at = s * problem.num_anchors + i;
    const PaCoLossSums& part = shares.sums[at];
    const double pair_scale = rescale(part.pair_maximum, sums.pair_maximum);
    sums.pair_sum += part.pair_sum * pair_scale;
    sums.center_sum += part.center_sum * rescale(part.center_maximum, sums.center_maximum);
    sums.target += part.target;
    sums.positives += part.positives;
    const T* const rows = static_cast<const T*>(shares.rows) + at * stride;
    kernels.axpby(positive_row, rows, dim, 1, 1);
    if (exp_row != nullptr) {
      kernels.axpby(exp_row, rows + dim, dim, static_cast<T>(pair_scale), 1);
    }
  }
  return sums;
}

template <typename T>
void combine(const PaCoLossProblem& problem, const PaCoLossRecords& shares,
             const PaCoLossOutput& output, const Threads& threads) {
  check_anchor_weight<T>(problem);
  auto* const anchor_grad = static_cast<T*>(output.anchor_grad);
  const AnchorFinish<T> finish{problem, problem.beta, output.log_partition,
                               static_cast<T*>(output.pair_weight), anchor_grad};
  const Rows anchors = anchor_matrix(problem);
  threads.parallel_for(0, problem.num_anchors, kAnchorGrain, [&](int64_t begin, int64_t end) {
    std::vector<T> anchor_buffer;
    std::vector<T> positive_row(problem.dim);
    for (int64_t i = begin; i < end; ++i) {
      T* const exp_row = anchor_grad == nullptr ? nullptr : anchor_grad + i * problem.dim;
      const PaCoLossSums sums = join(shares, problem, i, positive_row.data(), exp_row);
      output.losses[i] =
          finish(i, row_numbers(anchors, i, anchor_buffer), sums, positive_row.data());
    }
  });
}

// Both over the one share that there is, anchor by anchor.
template <typename T>
void forward(const PaCoLossProblem& problem, const PaCoLossOutput& output, const Threads& threads) {
  check_values<T>(problem);
  auto* const anchor_grad = static_cast<T*>(output.anchor_grad);
  AnchorShare<T> share(problem, anchor_grad, threads);
  const AnchorFinish<T> finish{problem, problem.center_logits == nullptr ? 0 : problem.beta,
                               output.log_partition, static_cast<T*>(output.pair_weight),
                               anchor_grad};
  std::vector<double> losses(problem.num_anchors);
  threads.parallel_for(0, problem.num_anchors, kAnchorGrain, [&](int64_t begin, int64_t end) {
    typename AnchorShare<T>::Buffers buffers;
    std::vector<T> positive_row(problem.dim);
    for (int64_t i = begin; i < end; ++i) {
      const PaCoLossSums sums = share(i, positive_row.data(), buffers);
      losses[i] = finish(i, share.anchor(i, buffers), sums, positive_row.data());
    }
  });
  double loss = 0;
  for (const double value : losses) loss += value;
  *static_cast<T*>(output.loss) = static_cast<T>(loss / static_cast<double>(problem.num_anchors));
}

}  // namespace

void paco_loss_partial(const PaCoLossProblem& problem, const PaCoLossRecords& record,
                       const Threads& threads) {
  problem.type == ElementType::kFloat64 ? partial<double>(problem, record, threads)
                                        : partial<float>(problem, record, threads);
}

void paco_loss_combine(const PaCoLossProblem& problem, const PaCoLossRecords& shares,
                       const PaCoLossOutput& output, const Threads& threads) {
  problem.type == ElementType::kFloat64 ? combine<double>(problem, shares, output, threads)
                                        : combine<float>(problem, shares, output, threads);
}

void paco_loss_forward(const PaCoLossProblem& problem, const PaCoLossOutput& output,
                       const Threads& threads) {
  problem.type == ElementType::kFloat64 ? forward<double>(problem, output, threads)
                                        : forward<float>(problem, output, threads);
}

}  // namespace paco::cpu
