#include "opencv.h"

#include <map>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "error.h"

namespace paco::classify {
namespace {

Bitmap bitmap_of(const cv::Mat& image) {
  const auto owner = std::make_shared<const cv::Mat>(image);
  return {owner->data,
          owner->rows,
          owner->cols,
          owner->channels(),
          static_cast<std::ptrdiff_t>(owner->step[0]),
          owner};
}

}  // namespace

const bool kHasOpenCV = true;

Bitmap decode(std::span<const uint8_t> file, bool gray, bool ignore_orientation) {
  const int flags = (gray ? cv::IMREAD_GRAYSCALE : cv::IMREAD_COLOR) |
                    (ignore_orientation ? cv::IMREAD_IGNORE_ORIENTATION : 0);
  // OpenCV takes no pointer to const, and does not write there.
  const cv::Mat bytes(1, static_cast<int>(file.size()), CV_8U, const_cast<uint8_t*>(file.data()));
  cv::Mat image;
  try {
    image = cv::imdecode(bytes, flags);
  } catch (const cv::Exception& error) {  // a size that OpenCV refuses, for one
    throw Error("cannot be decoded: " + error.err);
  }
  if (image.empty()) {
    throw Error("is not an image that can be read");
  }
  return bitmap_of(image);
}

Bitmap resize_like_opencv(const Bitmap& image, int height, int width,
                          const std::string& interpolation) {
  static const std::map<std::string, int> kInterpolations = {{"nearest", cv::INTER_NEAREST},
                                                             {"bilinear", cv::INTER_LINEAR},
                                                             {"bicubic", cv::INTER_CUBIC},
                                                             {"area", cv::INTER_AREA},
                                                             {"lanczos", cv::INTER_LANCZOS4}};
  const cv::Mat source(image.height, image.width, CV_8UC(image.channels),
                       const_cast<uint8_t*>(image.data), image.row_stride);
  cv::Mat result;
  cv::resize(source, result, {width, height}, 0, 0, kInterpolations.at(interpolation));
  return bitmap_of(result);
}

}  // namespace paco::classify
