#pragma once

#include <cstdint>
#include <fstream>
#include <span>
#include <string>

namespace paco::classify {

/// Rows of float32 as a NumPy file [N, F], which gets its name when it is whole.
class FeaturesFile {
 public:
  /// Throws Error if the file cannot be written.
  FeaturesFile(const std::string& path, int64_t width);
  ~FeaturesFile();
  FeaturesFile(const FeaturesFile&) = delete;
  FeaturesFile& operator=(const FeaturesFile&) = delete;

  void add(std::span<const float> row);

  /// Throws Error if not all of it could be written.
  void finish();

 private:
  void write_header();

  std::string path_;
  std::string unfinished_path_;
  std::ofstream file_;
  int64_t width_;
  int64_t rows_ = 0;
};

}  // namespace paco::classify
