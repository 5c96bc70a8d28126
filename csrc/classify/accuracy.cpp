#include "accuracy.h"

#include <cstddef>

#include "error.h"

namespace paco {
namespace {

struct Mean {
  double sum = 0;
  int classes = 0;

  void add(double value) {
    sum += value;
    ++classes;
  }
  std::optional<double> value() const {
    return classes == 0 ? std::optional<double>() : sum / classes;
  }
};

}  // namespace

GroupAccuracy group_accuracy(const std::vector<int64_t>& images,
                             const std::vector<int64_t>& correct,
                             const std::vector<int64_t>& class_counts) {
  if (images.size() != correct.size() ||
      (!class_counts.empty() && class_counts.size() != images.size())) {
    throw Error("group_accuracy: images, correct and class_counts must have a number a class each");
  }
  Mean all;
  Mean many;
  Mean medium;
  Mean few;
  for (size_t c = 0; c < images.size(); ++c) {
    if (images[c] == 0) {
      continue;
    }
    const double accuracy = static_cast<double>(correct[c]) / static_cast<double>(images[c]);
    all.add(accuracy);
    if (!class_counts.empty()) {
      (class_counts[c] > 100 ? many : class_counts[c] >= 20 ? medium : few).add(accuracy);
    }
  }
  return {all.value(), many.value(), medium.value(), few.value()};
}

}  // namespace paco
