#include "summary.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <numeric>

namespace paco::classify {
namespace {

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

}  // namespace

Summary::Summary(const std::vector<std::string>& classes, const std::vector<int64_t>& class_counts)
    : classes_(classes),
      class_counts_(class_counts),
      images_(classes.size()),
      correct_(classes.size()) {
  for (size_t c = 0; c < classes.size(); ++c) {
    index_.emplace(classes[c], c);
  }
}

void Summary::add(const std::string& path, int64_t best) {
  const auto found = index_.find(std::filesystem::path(path).parent_path().filename().string());
  if (found == index_.end()) {
    labelled_ = false;
    return;
  }
  ++images_[found->second];
  if (found->second == best) {
    ++correct_[best];
  } else {
    ++confused_[{found->second, best}];
  }
}

std::string Summary::accuracies() const {
  const GroupAccuracy accuracy = group_accuracy(images_, correct_, class_counts_);
  std::string line = "mean accuracy of the classes:";
  for (const auto& [name, share] : {std::pair{"all", accuracy.all},
                                    {"many", accuracy.many},
                                    {"medium", accuracy.medium},
                                    {"few", accuracy.few}}) {
    if (share) {
      line += std::string("  ") + name + " " + percent(*share);
    }
  }
  return line;
}

std::vector<std::string> Summary::lines() const {
  const int64_t images = std::accumulate(images_.begin(), images_.end(), int64_t{0});
  if (!labelled_ || images == 0) {
    return {};
  }
  const int64_t correct = std::accumulate(correct_.begin(), correct_.end(), int64_t{0});
  std::vector<std::string> result = {
      "top-1 of " + std::to_string(images) + " images in folders of classes: " +
          percent(static_cast<double>(correct) / static_cast<double>(images)),
      accuracies()};
  constexpr size_t kWorst = 5;
  std::vector<std::pair<std::pair<int64_t, int64_t>, int64_t>> worst(confused_.begin(),
                                                                     confused_.end());
  std::sort(worst.begin(), worst.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  worst.resize(std::min(worst.size(), kWorst));
  for (const auto& [pair, count] : worst) {
    result.push_back(classes_[pair.first] + " taken for " + classes_[pair.second] + ": " +
                     std::to_string(count) + " of " + std::to_string(images_[pair.first]));
  }
  return result;
}

}  // namespace paco::classify
