#include "read.h"

#include "error.h"
#include "image_file.h"
#include "opencv.h"

namespace paco::classify {
namespace {

ReadImage read_file(Image::File file, Channels channels, bool ignore_orientation) {
  check_image_file(file);
  return {decode(file, channels == Channels::kGray, ignore_orientation),
          channels == Channels::kRGB};
}

ReadImage view(const Pixels& pixels, Channels channels) {
  const int has = pixels.channels == Channels::kGray ? 1 : 3;
  const int wanted = channels == Channels::kGray ? 1 : 3;
  if (pixels.data == nullptr || pixels.height < 1 || pixels.width < 1) {
    throw Error("has no pixels");
  }
  if (wanted < has) {
    throw Error("is in color, and the model takes gray pixels");
  }
  const std::ptrdiff_t pixel_stride = pixels.pixel_stride == 0 ? has : pixels.pixel_stride;
  const std::ptrdiff_t channel_stride = pixels.channel_stride == 0 ? 1 : pixels.channel_stride;
  const std::ptrdiff_t row_stride =
      pixels.row_stride == 0 ? pixel_stride * pixels.width : pixels.row_stride;
  const bool reversed = has == 3 && channels != pixels.channels;
  if (has == wanted && channel_stride == 1 && pixel_stride == has) {
    return {{pixels.data, pixels.height, pixels.width, has, row_stride, {}}, reversed};
  }
  const NewBitmap copy(pixels.height, pixels.width, wanted);  // gray becomes three of the same
  uint8_t* out = copy.data;
  for (int y = 0; y < pixels.height; ++y) {
    for (int x = 0; x < pixels.width; ++x) {
      const uint8_t* pixel = pixels.data + y * row_stride + x * pixel_stride;
      for (int c = 0; c < wanted; ++c) {
        *out++ = pixel[has == 1 ? 0 : c * channel_stride];
      }
    }
  }
  return {copy.bitmap, reversed};
}

}  // namespace

ReadImage read(const Image& image, Channels channels, bool ignore_orientation) {
  if (const auto* path = std::get_if<std::filesystem::path>(&image.content())) {
    return read_file(read_image_file(*path), channels, ignore_orientation);
  }
  if (const auto* file = std::get_if<Image::File>(&image.content())) {
    return read_file(*file, channels, ignore_orientation);
  }
  return view(std::get<Pixels>(image.content()), channels);
}

}  // namespace paco::classify
