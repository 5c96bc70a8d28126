#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>

#include "../argument_error.h"
#include "../paco_loss_problem.h"

namespace paco::cpu {

template <typename... Words>
[[noreturn]] void refuse(const Words&... words) {
  std::ostringstream message;
  (message << ... << words);
  throw ArgumentError(message.str());
}

// Labels are any numbers >= 0 where no number of classes is known.
inline void check_labels(const char* name, const int64_t* labels, int64_t size,
                         const PaCoLossProblem& problem) {
  const bool bounded = problem.num_classes > 0;
  const int64_t end = bounded ? problem.num_classes : std::numeric_limits<int64_t>::max();
  for (int64_t j = 0; j < size; ++j) {
    if (labels[j] >= 0 && labels[j] < end) continue;
    refuse(name, " must lie in [0, C), got ", labels[j], " at ", j,
           bounded ? " with C = " + std::to_string(end) : "");
  }
}

// NaN is let through: it gives NaN in the loss.
template <typename T>
void check_soft_targets(const PaCoLossProblem& problem) {
  for (int64_t i = 0; i < problem.num_anchors; ++i) {
    const T* const targets = static_cast<const T*>(problem.soft_targets) + i * problem.num_classes;
    double sum = 0;
    T smallest = 0;
    for (int64_t c = 0; c < problem.num_classes; ++c) {
      sum += targets[c];
      smallest = targets[c] < smallest ? targets[c] : smallest;
    }
    if (smallest < 0) refuse("soft_targets must be >= 0, got ", smallest, " in row ", i);
    if (std::abs(sum - 1) > kSoftTargetTolerance) {
      refuse("soft_targets must have rows that sum to 1, got ", sum, " in row ", i);
    }
  }
}

template <typename T>
void check_values(const PaCoLossProblem& problem) {
  check_labels("labels", problem.labels, problem.num_rows, problem);
  if (problem.queue != nullptr) {
    const int64_t valid = problem.num_valid == nullptr ? problem.queue_rows : *problem.num_valid;
    if (valid < 0 || valid > problem.queue_rows) {
      refuse("num_valid must lie between 0 and the rows of queue, ", problem.queue_rows, ", got ",
             valid);
    }
    check_labels("queue_labels", problem.queue_labels, valid, problem);
  }
  if (problem.anchor_weight != nullptr) {
    const auto* const weights = static_cast<const T*>(problem.anchor_weight);
    for (int64_t i = 0; i < problem.num_anchors; ++i) {
      if (weights[i] < 0) refuse("anchor_weight must be >= 0, got ", weights[i], " at ", i);
    }
  }
  if (problem.soft_targets != nullptr) check_soft_targets<T>(problem);
}

}  // namespace paco::cpu
