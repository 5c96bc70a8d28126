#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "../argument_error.h"
#include "../paco_loss_problem.h"

namespace paco::cpu {

template <typename... Words>
[[noreturn]] void refuse(const Words&... words) {
  std::ostringstream message;
  (message << ... << words);
  throw ArgumentError(message.str());
}

// Labels are any numbers >= 0 where no number of classes is known, which is 0 then.
inline void check_labels(const char* name, const int64_t* labels, int64_t size,
                         int64_t num_classes) {
  const bool bounded = num_classes > 0;
  const int64_t end = bounded ? num_classes : std::numeric_limits<int64_t>::max();
  for (int64_t j = 0; j < size; ++j) {
    if (labels[j] >= 0 && labels[j] < end) continue;
    refuse(name, " must lie in [0, C), got ", labels[j], " at ", j,
           bounded ? " with C = " + std::to_string(end) : "");
  }
}

// NaN is let through: it gives NaN in the loss.
template <typename T>
void check_soft_targets(const PaCoLossProblem& problem) {
  const bool all_classes = !problem.share.has_class_share;
  for (int64_t anchor = 0; anchor < problem.num_anchors; ++anchor) {
    const int64_t i = problem.center_row_of(anchor);
    if (i < 0) continue;
    const T* const targets = static_cast<const T*>(problem.soft_targets) + i * problem.num_classes;
    double sum = 0;
    T smallest = 0;
    for (int64_t c = 0; c < problem.num_classes; ++c) {
      sum += targets[c];
      smallest = targets[c] < smallest ? targets[c] : smallest;
    }
    if (smallest < 0) refuse("soft_targets must be >= 0, got ", smallest, " in row ", i);
    if (all_classes ? std::abs(sum - 1) > kSoftTargetTolerance : sum > 1 + kSoftTargetTolerance) {
      refuse("soft_targets must have rows that sum to 1, got ", sum, " in row ", i);
    }
  }
}

// A row is one anchor at most, and has its row of center logits where those are not of a share of
// the classes.
inline void check_anchor_rows(const PaCoLossProblem& problem) {
  const PaCoLossShare& share = problem.share;
  std::vector<bool> taken(problem.num_rows);
  int64_t own = 0;
  int64_t end = 0;
  for (int64_t i = 0; i < problem.num_anchors; ++i) {
    const int64_t row = problem.row_of(i);
    if (row == -1) continue;
    if (row < -1 || row >= problem.num_rows) {
      refuse("anchor_rows must lie between -1 and the rows of features, ", problem.num_rows,
             ", got ", row, " at ", i);
    }
    if (taken[row]) refuse("anchor_rows must name a row once, got ", row, " again at ", i);
    taken[row] = true;
    ++own;
    end = std::max(end, row + 1);
  }
  const bool by_row =
      problem.num_classes > 0 && problem.class_counts == nullptr && !share.has_class_share;
  if (by_row && (own != share.center_rows || end != own)) {
    refuse("center_logits must have one row for each anchor among the first rows of features, got ",
           share.center_rows, " with ", own, " anchors there");
  }
}

// NaN is let through: it gives NaN in the loss.
template <typename T>
void check_anchor_weight(const PaCoLossProblem& problem) {
  const auto* const weights = static_cast<const T*>(problem.anchor_weight);
  for (int64_t i = 0; weights != nullptr && i < problem.num_anchors; ++i) {
    if (weights[i] < 0) refuse("anchor_weight must be >= 0, got ", weights[i], " at ", i);
  }
}

// How many rows of the queue are valid; all where num_valid is null.
inline int64_t checked_valid_rows(const int64_t* num_valid, int64_t queue_rows) {
  const int64_t valid = num_valid == nullptr ? queue_rows : *num_valid;
  if (valid < 0 || valid > queue_rows) {
    refuse("num_valid must lie between 0 and the rows of queue, ", queue_rows, ", got ", valid);
  }
  return valid;
}

template <typename T>
void check_values(const PaCoLossProblem& problem) {
  check_labels("labels", problem.labels, problem.num_rows, problem.label_range());
  if (problem.share.anchors != nullptr) {
    check_labels("anchor_labels", problem.share.anchor_labels, problem.num_anchors,
                 problem.label_range());
    check_anchor_rows(problem);
  }
  if (problem.queue != nullptr) {
    const int64_t valid = checked_valid_rows(problem.num_valid, problem.queue_rows);
    check_labels("queue_labels", problem.queue_labels, valid, problem.label_range());
  }
  check_anchor_weight<T>(problem);
  if (problem.soft_targets != nullptr) check_soft_targets<T>(problem);
}

}  // namespace paco::cpu
