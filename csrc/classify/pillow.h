#pragma once

#include <string>

#include "bitmap.h"

namespace paco::classify {

/// Whether resize_like_pillow knows an interpolation.
bool pillow_knows(const std::string& interpolation);

/// Resizes an image as Pillow does, by "nearest", "box", "bilinear" or "bicubic"
/// interpolation: all but the first widen their filter with the reduction, so that it
/// covers all pixels, where OpenCV's takes the nearest.
///
/// Rows are filtered before columns, each pass rounded to 8 bits. So does Pillow, bit for bit,
/// except that Pillow 13 turns the order round for images that are more than twice as tall as wide,
/// or that become wider and less tall; there results differ by such roundings.
Bitmap resize_like_pillow(const Bitmap& image, int height, int width,
                          const std::string& interpolation);

}  // namespace paco::classify
