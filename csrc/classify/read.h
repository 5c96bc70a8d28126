#pragma once

#include "bitmap.h"
#include "image.h"

namespace paco::classify {

/// Pixels in the order they were found in.
struct ReadImage {
  Bitmap bitmap;
  bool reversed;  ///< whether the first channel is the last one that was asked for
};

/// Reads an image in one of its forms; one channel for gray, else three. Throws Error, a sentence
/// without its subject, for what is no image.
ReadImage read(const Image& image, Channels channels, bool ignore_orientation);

}  // namespace paco::classify
