#include "pillow.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace paco::classify {
namespace {

// Weights are integers of this many fractional bits; a sum of them times 8 bits fits into 32.
constexpr int kBits = 22;

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

// Keys' cubic with a = -0.5.
double cubic(double x) {
  x = std::abs(x);
  if (x < 1) {
    return (1.5 * x - 2.5) * x * x + 1;
  }
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/// The input pixels that an output pixel is made of.
struct Window {
  int first;
  std::vector<int32_t> weights;
};

std::vector<Window> windows(int input, int output, double (*filter)(double), double radius) {
  const double scale = static_cast<double>(input) / output;
  const double stretch = std::max(scale, 1.0);
  const double shrink = 1 / stretch;
  std::vector<Window> result(output);
  for (int i = 0; i < output; ++i) {
    const double center = (i + 0.5) * scale;
    // NOLINTBEGIN(bugprone-incorrect-roundings): as Pillow rounds
    const int first = std::max(0, static_cast<int>(center - radius * stretch + 0.5));
    const int end = std::min(input, static_cast<int>(center + radius * stretch + 0.5));
    // NOLINTEND(bugprone-incorrect-roundings)
    std::vector<double> weights(end - first);
    double sum = 0;
    for (int j = first; j < end; ++j) {
      sum += weights[j - first] = filter((j - center + 0.5) * shrink);
    }
    result[i].first = first;
    for (const double weight : weights) {
      result[i].weights.push_back(static_cast<int32_t>(std::lround(weight / sum * (1 << kBits))));
    }
  }
  return result;
}

/// Resizes the rows' length; the columns' is resized by doing this to the transposed image.
cv::Mat resize_rows(const cv::Mat& image, const std::vector<Window>& windows) {
  const int channels = image.channels();
  cv::Mat result(image.rows, static_cast<int>(windows.size()), image.type());
  for (int y = 0; y < image.rows; ++y) {
    const uint8_t* in = image.ptr<uint8_t>(y);
    uint8_t* out = result.ptr<uint8_t>(y);
    for (const Window& window : windows) {
      for (int c = 0; c < channels; ++c) {
        int32_t sum = 1 << (kBits - 1);
        for (size_t j = 0; j < window.weights.size(); ++j) {
          sum += window.weights[j] * in[(window.first + j) * channels + c];
        }
        *out++ = static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255));
      }
    }
  }
  return result;
}

}  // namespace

cv::Mat resize_like_pillow(const cv::Mat& image, cv::Size size, const std::string& interpolation) {
  const bool bicubic = interpolation == "bicubic";
  const auto filter = bicubic ? cubic : triangle;
  const double radius = bicubic ? 2 : 1;
  cv::Mat result = image;
  if (size.width != image.cols) {
    result = resize_rows(result, windows(image.cols, size.width, filter, radius));
  }
  if (size.height != image.rows) {
    cv::Mat transposed = result.t();
    result = resize_rows(transposed, windows(image.rows, size.height, filter, radius)).t();
  }
  return result;
}

}  // namespace paco::classify
