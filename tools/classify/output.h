#pragma once

#include <paco/classify.h>

#include <chrono>
#include <string>
#include <vector>

namespace paco::classify {

/// Writes results to the standard output, best class first.
class Results {
 public:
  /// Writes a table's header, unless `json`: `images` and `classes` say how wide its columns are,
  /// `top_k` how many there are.
  Results(const std::vector<std::string>& images, const std::vector<std::string>& classes,
          int top_k, bool json);

  /// One image's best classes.
  void write(const std::string& image, const std::vector<Prediction>& best);

 private:
  bool json_;
  size_t image_width_ = 0;
  size_t class_width_ = 0;
};

/// A bar at the bottom of the terminal; nothing where the standard error is none, or few images.
class Progress {
 public:
  Progress(size_t total, size_t few);

  void draw(size_t done);
  void clear();

 private:
  size_t total_;
  bool visible_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace paco::classify
