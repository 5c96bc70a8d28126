#include "pillow.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

namespace paco::classify {
namespace {

// Weights are integers of this many fractional bits; a sum of them times 8 bits fits into 32.
constexpr int kBits = 22;

double box(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

// Keys' cubic with a = -0.5.
double cubic(double x) {
  x = std::abs(x);
  if (x < 1) {
    return (1.5 * x - 2.5) * x * x + 1;
  }
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

struct Filter {
  double (*value)(double);
  double radius;
};

const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> kFilters = {
      {"box", {box, 0.5}}, {"bilinear", {triangle, 1}}, {"bicubic", {cubic, 2}}};
  return kFilters;
}

/// The input pixels that an output pixel is made of.
struct Window {
  int first;
  std::vector<int32_t> weights;
};

std::vector<Window> windows(int input, int output, const Filter& filter) {
  const double scale = static_cast<double>(input) / output;
  const double stretch = std::max(scale, 1.0);
  const double shrink = 1 / stretch;
  std::vector<Window> result(output);
  for (int i = 0; i < output; ++i) {
    const double center = (i + 0.5) * scale;
    // NOLINTNEXTLINE(bugprone-incorrect-roundings): as Pillow rounds
    const int first = std::max(0, static_cast<int>(center - filter.radius * stretch + 0.5));
    const double reach = center + filter.radius * stretch + 0.5;
    const int end = static_cast<int>(std::min<double>(input, reach));
    std::vector<double> weights(end - first);
    double sum = 0;
    for (int j = first; j < end; ++j) {
      sum += weights[j - first] = filter.value((j - center + 0.5) * shrink);
    }
    result[i].first = first;
    for (const double weight : weights) {
      result[i].weights.push_back(static_cast<int32_t>(std::lround(weight / sum * (1 << kBits))));
    }
  }
  return result;
}

/// Resizes the rows' length.
Bitmap resize_rows(const Bitmap& image, const std::vector<Window>& windows) {
  const int channels = image.channels;
  const NewBitmap result(image.height, static_cast<int>(windows.size()), channels);
  uint8_t* out = result.data;
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* in = image.row(y);
    for (const Window& window : windows) {
      const uint8_t* first = in + static_cast<std::ptrdiff_t>(window.first) * channels;
      for (int c = 0; c < channels; ++c) {
        int32_t sum = 1 << (kBits - 1);
        for (size_t j = 0; j < window.weights.size(); ++j) {
          sum += window.weights[j] * first[j * channels + c];
        }
        *out++ = static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255));
      }
    }
  }
  return result.bitmap;
}

/// Resizes the columns' length, a row of the result at a time.
Bitmap resize_columns(const Bitmap& image, const std::vector<Window>& windows) {
  const size_t size = static_cast<size_t>(image.width) * image.channels;
  const NewBitmap result(static_cast<int>(windows.size()), image.width, image.channels);
  uint8_t* out = result.data;
  std::vector<int32_t> sums(size);
  for (const Window& window : windows) {
    std::fill(sums.begin(), sums.end(), 1 << (kBits - 1));
    for (size_t j = 0; j < window.weights.size(); ++j) {
      const int32_t weight = window.weights[j];
      const uint8_t* in = image.row(window.first + static_cast<int>(j));
      for (size_t i = 0; i < size; ++i) {
        sums[i] += weight * in[i];
      }
    }
    for (const int32_t sum : sums) {
      *out++ = static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255));
    }
  }
  return result.bitmap;
}

/// The input pixels that "nearest" takes, found as Pillow does it, step by step: a product would be
/// rounded otherwise.
std::vector<int> nearest_pixels(int input, int output) {
  const double step = static_cast<double>(input) / output;
  std::vector<int> result(output);
  double position = step * 0.5;
  for (int& pixel : result) {
    pixel = std::min(static_cast<int>(position), input - 1);
    position += step;
  }
  return result;
}

Bitmap nearest(const Bitmap& image, int height, int width) {
  const std::vector<int> columns = nearest_pixels(image.width, width);
  const NewBitmap result(height, width, image.channels);
  uint8_t* out = result.data;
  for (const int y : nearest_pixels(image.height, height)) {
    for (const int x : columns) {
      const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(x) * image.channels;
      out = std::copy_n(image.row(y) + at, image.channels, out);
    }
  }
  return result.bitmap;
}

}  // namespace

bool pillow_knows(const std::string& interpolation) {
  return interpolation == "nearest" || filters().contains(interpolation);
}

Bitmap resize_like_pillow(const Bitmap& image, int height, int width,
                          const std::string& interpolation, int version) {
  if (interpolation == "nearest") {
    return nearest(image, height, width);
  }
  const Filter& filter = filters().at(interpolation);
  const auto rows = [&](const Bitmap& from) {
    return width == image.width ? from : resize_rows(from, windows(image.width, width, filter));
  };
  const auto columns = [&](const Bitmap& from) {
    return height == image.height ? from
                                  : resize_columns(from, windows(image.height, height, filter));
  };
  const int lost = image.height - height;
  const bool columns_first = version >= 13 && lost > 0 && lost > 2 * (int64_t{image.width} - width);
  return columns_first ? rows(columns(image)) : columns(rows(image));
}

}  // namespace paco::classify
