#include "image.h"

#include "explain.h"
#include "read.h"

namespace paco {

DecodedImage decode_image(const Image& image, Channels channels) {
  const auto* path = std::get_if<std::filesystem::path>(&image.content());
  try {
    const auto [bitmap, reversed] = classify::read(image, channels, false);
    DecodedImage result{bitmap.height, bitmap.width, channels, {}};
    result.pixels.reserve(static_cast<size_t>(bitmap.height) * bitmap.width * bitmap.channels);
    for (int y = 0; y < bitmap.height; ++y) {
      for (int x = 0; x < bitmap.width; ++x) {
        const uint8_t* pixel = bitmap.row(y) + static_cast<std::ptrdiff_t>(x) * bitmap.channels;
        for (int c = 0; c < bitmap.channels; ++c) {
          result.pixels.push_back(pixel[reversed ? bitmap.channels - 1 - c : c]);
        }
      }
    }
    return result;
  } catch (const std::exception& error) {
    throw Error((path != nullptr ? path->string() : "the image") + " " + classify::explain(error));
  }
}

}  // namespace paco
