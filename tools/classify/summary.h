#pragma once

#include <paco/classify.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace paco::classify {

/// Counts how often a classifier is right about images in folders that are called like classes.
class Summary {
 public:
  /// Both outlive the object.
  Summary(const std::vector<std::string>& classes, const std::vector<int64_t>& class_counts);

  /// One image and the best of its classes.
  void add(const std::string& path, int64_t best);

  /// Lines of text: accuracy, that of many, medium and few, and the worst confusions; none unless
  /// every image that was added has a folder with the name of a class.
  std::vector<std::string> lines() const;

 private:
  std::string accuracies() const;

  const std::vector<std::string>& classes_;
  const std::vector<int64_t>& class_counts_;
  std::map<std::string, int64_t> index_;
  bool labelled_ = true;
  std::vector<int64_t> images_;   // of each class
  std::vector<int64_t> correct_;  // of each class
  std::map<std::pair<int64_t, int64_t>, int64_t>
      confused_;  // by class and by what it was taken for
};

}  // namespace paco::classify
