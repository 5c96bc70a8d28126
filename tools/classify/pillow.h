#pragma once

#include <opencv2/core/mat.hpp>
#include <string>

namespace paco::classify {

/// Resizes an image of 8 bits a channel as Pillow does, by "bilinear" or "bicubic" interpolation:
/// the filter widens with the reduction, so that it covers all pixels, where OpenCV's takes the
/// nearest.
///
/// Rows are filtered before columns, each pass rounded to 8 bits. So does Pillow, bit for bit,
/// except that Pillow 13 turns the order round for images that are more than twice as tall as wide,
/// or that become wider and less tall; there results differ by such roundings.
cv::Mat resize_like_pillow(const cv::Mat& image, cv::Size size, const std::string& interpolation);

}  // namespace paco::classify
