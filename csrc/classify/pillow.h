#pragma once

#include <string>

#include "bitmap.h"

namespace paco::classify {

/// Whether resize_like_pillow knows an interpolation.
bool pillow_knows(const std::string& interpolation);

/// Resizes an image as Pillow does, by "nearest", "box", "bilinear" or "bicubic" interpolation: all
/// but the first widen their filter with the reduction, so that it covers all pixels, where
/// OpenCV's takes the nearest.
///
/// Rows are filtered before columns, each pass rounded to 8 bits, so that the order shows in the
/// bits. Since version 13 Pillow filters columns first where the height loses more than twice as
/// many pixels as the width. `version` is the major one.
Bitmap resize_like_pillow(const Bitmap& image, int height, int width,
                          const std::string& interpolation, int version);

}  // namespace paco::classify
