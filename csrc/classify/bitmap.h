#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace paco::classify {

/// An image of 8 bits a channel; the channels of a pixel lie side by side, in whatever order.
struct Bitmap {
  const uint8_t* data;
  int height;
  int width;
  int channels;
  std::ptrdiff_t row_stride;          ///< bytes
  std::shared_ptr<const void> owner;  ///< of the memory; none if that is the caller's

  const uint8_t* row(int y) const { return data + y * row_stride; }

  /// A part of it, which shares the memory.
  Bitmap part(int y, int x, int part_height, int part_width) const {
    return {row(y) + static_cast<std::ptrdiff_t>(x) * channels,
            part_height,
            part_width,
            channels,
            row_stride,
            owner};
  }
};

/// New memory for an image, and a view of it.
struct NewBitmap {
  uint8_t* data;
  Bitmap bitmap;

  NewBitmap(int height, int width, int channels) {
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(width) * channels;
    const auto memory = std::make_shared<std::vector<uint8_t>>(height * row);
    data = memory->data();
    bitmap = {data, height, width, channels, row, memory};
  }
};

}  // namespace paco::classify
