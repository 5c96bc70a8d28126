#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "../macros.h"

namespace paco {

/// Mean accuracy of the classes of a group, between 0 and 1; nothing for a group without images.
struct GroupAccuracy {
  std::optional<double> all;
  std::optional<double> many;    ///< classes with over 100 training images
  std::optional<double> medium;  ///< with 20 to 100
  std::optional<double> few;     ///< with under 20
};

/// Accuracy where the tail counts as much as the head.
///
/// images: how many were classified, of each class.
/// correct: how many of them rightly.
/// class_counts: training images of each class; if empty, only `all` is known.
///
/// Throws Error for lists of different lengths.
PACO_API GroupAccuracy group_accuracy(const std::vector<int64_t>& images,
                                      const std::vector<int64_t>& correct,
                                      const std::vector<int64_t>& class_counts);

}  // namespace paco
