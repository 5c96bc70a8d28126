#pragma once

#include <opencv2/core/mat.hpp>
#include <string>

namespace paco::classify {

/// Resizes an image of 8 bits a channel as Pillow does, bit for bit, by "bilinear" or "bicubic"
/// interpolation. When it makes an image smaller, Pillow widens the filter to cover all pixels,
/// where OpenCV takes the nearest ones.
cv::Mat resize_like_pillow(const cv::Mat& image, cv::Size size, const std::string& interpolation);

}  // namespace paco::classify
