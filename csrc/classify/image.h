#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "../macros.h"

namespace paco {

/// The channels of a pixel.
enum class Channels : uint8_t { kRGB, kBGR, kGray };

/// A decoded image of 8 bits a channel, in memory that is the caller's.
struct Pixels {
  const uint8_t* data = nullptr;  ///< the first number of the upper left pixel
  int height = 0;
  int width = 0;
  Channels channels = Channels::kRGB;
  // Bytes from a row to the next, from a pixel to the next, and from a channel to the next. Zero
  // means that nothing lies between: pixels of three bytes in rows without a gap.
  std::ptrdiff_t row_stride = 0;
  std::ptrdiff_t pixel_stride = 0;
  std::ptrdiff_t channel_stride = 0;
};

/// An image in one of three forms: a file's name, a file's bytes in memory, or pixels. Bytes and
/// pixels are not copied, and have to stay until the call that takes the image is over.
class Image {
 public:
  using File = std::span<const uint8_t>;

  // Not explicit: classifier.classify("cat.jpg") is to be written.
  Image(const char* path) : content_(std::filesystem::path(path)) {}
  Image(const std::string& path) : content_(std::filesystem::path(path)) {}
  Image(std::filesystem::path path) : content_(std::move(path)) {}
  Image(File file) : content_(file) {}
  Image(const Pixels& pixels) : content_(pixels) {}

  const std::variant<std::filesystem::path, File, Pixels>& content() const { return content_; }

 private:
  std::variant<std::filesystem::path, File, Pixels> content_;
};

/// An image and its memory.
struct DecodedImage {
  int height;
  int width;
  Channels channels;
  std::vector<uint8_t> pixels;  ///< [height, width, 3], or [height, width] of gray ones
};

/// Decodes an image file, or copies pixels, as a Classifier does it. Throws Error for what is no
/// image, a sentence that names the file, and for pixels in color if gray ones are asked for.
PACO_API DecodedImage decode_image(const Image& image, Channels channels);

}  // namespace paco
