#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "bitmap.h"

namespace paco::classify {

// What OpenCV does; without it, opencv_missing.cpp takes the place of opencv.cpp.

extern const bool kHasOpenCV;

/// Decodes an image file into one channel or three, B, G and R. Throws Error for what is no image.
Bitmap decode(std::span<const uint8_t> file, bool gray, bool ignore_orientation);

/// Resizes by "nearest", "bilinear", "bicubic", "area" or "lanczos".
Bitmap resize_like_opencv(const Bitmap& image, int height, int width,
                          const std::string& interpolation);

}  // namespace paco::classify
