#include "image_file.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "error.h"

namespace paco::classify {
namespace {

namespace fs = std::filesystem;
using Bytes = std::span<const uint8_t>;

// OpenCV counts the bytes of a file in an int.
void check_size(uintmax_t size) {
  constexpr uintmax_t kLargest = 1 << 30;
  if (size > kLargest) {
    throw Error("is larger than 1 GB, and no image file");
  }
}

bool has(Bytes file, size_t at, std::string_view text) {
  return at + text.size() <= file.size() &&
         std::memcmp(file.data() + at, text.data(), text.size()) == 0;
}

/// Whether a JPEG's data has its end: without, the decoder paints the rest gray.
bool is_whole_jpeg(Bytes file) {
  for (size_t i = 2; i + 1 < file.size();) {
    const uint8_t marker = file[i + 1];
    if (file[i] != 0xff || marker == 0xff) {  // pixels, or padding
      ++i;
    } else if (marker == 0xd9) {
      return true;
    } else if (marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {  // those without a length
      i += 2;
    } else if (i + 3 < file.size()) {  // a segment, perhaps with another JPEG inside
      i += 2 + (file[i + 2] << 8 | file[i + 3]);
    } else {
      break;
    }
  }
  return false;
}

bool is_animated_png(Bytes file) {
  for (size_t i = 8; i + 8 <= file.size() && !has(file, i + 4, "IDAT");) {
    if (has(file, i + 4, "acTL")) {
      return true;
    }
    const size_t length =
        static_cast<size_t>(file[i]) << 24 | file[i + 1] << 16 | file[i + 2] << 8 | file[i + 3];
    i += 12 + length;
  }
  return false;
}

bool is_animated_webp(Bytes file) {
  constexpr uint8_t kAnimation = 0x02;
  return has(file, 0, "RIFF") && has(file, 8, "WEBPVP8X") && file.size() > 20 &&
         (file[20] & kAnimation) != 0;
}

}  // namespace

std::vector<uint8_t> read_image_file(const fs::path& path) {
  // Asked before it is opened, which waits where a pipe has no writer.
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw Error("cannot be read: " + error.message());
  }
  if (fs::is_directory(status)) {
    throw Error("is a folder, and no image file");
  }
  if (!fs::is_regular_file(status)) {
    throw Error("is a pipe, a socket or a device, and no image file");
  }
  const uintmax_t size = fs::file_size(path, error);
  if (error) {
    throw Error("cannot be read: " + error.message());
  }
  check_size(size);
  std::vector<uint8_t> file(size);
  std::ifstream stream(path, std::ios::binary);
  if (!stream.read(reinterpret_cast<char*>(file.data()), static_cast<std::streamsize>(size))) {
    throw Error("cannot be read");
  }
  return file;
}

void check_image_file(Bytes file) {
  if (file.empty()) {
    throw Error("is empty");
  }
  check_size(file.size());
  if (has(file, 0, "GIF8")) {
    throw Error("is a GIF, of which programs show different frames; convert it to PNG");
  }
  if (is_animated_webp(file) || (has(file, 0, "\x89PNG") && is_animated_png(file))) {
    throw Error("is animated, and programs show different frames of it; convert one to PNG");
  }
  if (has(file, 0, "\xff\xd8\xff") && !is_whole_jpeg(file)) {
    throw Error("is cut off: the JPEG has no end");
  }
}

}  // namespace paco::classify
