#include "features_file.h"

#include <paco/classify.h>
#include <unistd.h>

#include <bit>
#include <filesystem>

namespace paco::classify {

static_assert(std::endian::native == std::endian::little, "the file says so");

FeaturesFile::FeaturesFile(const std::string& path, int64_t width)
    : path_(path),
      unfinished_path_(path + "." + std::to_string(getpid()) + ".unfinished"),
      file_(unfinished_path_, std::ios::binary),
      width_(width) {
  write_header();
  if (!file_) {
    throw Error("the file " + path + " cannot be written");
  }
}

FeaturesFile::~FeaturesFile() {
  std::error_code error;
  std::filesystem::remove(unfinished_path_, error);  // which it is no more, once finished
}

void FeaturesFile::add(std::span<const float> row) {
  file_.write(reinterpret_cast<const char*>(row.data()),
              static_cast<std::streamsize>(row.size_bytes()));
  ++rows_;
}

void FeaturesFile::finish() {
  file_.seekp(0);
  write_header();
  file_.close();
  std::error_code error;
  if (file_) {
    std::filesystem::rename(unfinished_path_, path_, error);
  }
  if (!file_ || error) {
    throw Error("the file " + path_ + " cannot be written");
  }
}

/// Version 1.0 of the format: a header of 128 bytes, whatever the number of rows.
void FeaturesFile::write_header() {
  constexpr size_t kSize = 128;
  std::string header("\x93NUMPY\x01\x00\x76\x00", 10);  // 0x76 bytes follow
  header += "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows_) + ", " +
            std::to_string(width_) + "), }";
  header.resize(kSize - 1, ' ');
  header += '\n';
  file_.write(header.data(), kSize);
}

}  // namespace paco::classify
