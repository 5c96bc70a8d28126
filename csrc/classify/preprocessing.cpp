#include "preprocessing.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>

#include "error.h"
#include "opencv.h"
#include "pillow.h"
#include "read.h"

namespace paco::classify {
namespace {

std::vector<int> parse_sizes(const std::string& name, const FindText& text) {
  const std::vector<int> numbers = parse_numbers<int>(name, text(name));
  for (const int number : numbers) {
    if (number < 1 || number > 1 << 15) {
      throw Error("its " + name + " should be a size and is '" + text(name) + "'");
    }
  }
  return numbers;
}

void parse_resize(const FindText& text, Preprocessing& result) {
  result.resize = parse_sizes("resize", text);
  result.resize_edge = text("resize_edge").empty() ? "short" : text("resize_edge");
  result.resize_keeps_ratio = text("resize_keep_ratio") == "1";
  result.resize_backend = text("resize_backend");
  result.interpolation = text("interpolation");
  const std::vector<int> pillow = parse_numbers<int>("pillow", text("pillow"));
  result.pillow_version = pillow.empty() ? 0 : pillow[0];  // files of libpaco 0.2.0 do not say
  const std::vector<int> padding = parse_numbers<int>("crop_padding", text("crop_padding"));
  if (!padding.empty()) {
    result.crop_padding = padding[0];
    if (padding.size() != 1 || padding[0] < 0 || padding[0] > 1 << 15 ||
        result.resize.size() != 2) {
      throw Error("its crop_padding should be a size beside a resize to a square and is '" +
                  text("crop_padding") + "'");
    }
  }
  if (result.resize.empty()) {
    return;
  }
  static const std::set<std::string> kOpenCV = {"nearest", "bilinear", "bicubic", "area",
                                                "lanczos"};
  static const std::set<std::string> kEdges = {"short", "long", "width", "height"};
  const bool known = result.resize_backend == "pillow"
                         ? pillow_knows(result.interpolation)
                         : result.resize_backend == "cv2" && kOpenCV.contains(result.interpolation);
  if (result.resize.size() > 2 || !known || !kEdges.contains(result.resize_edge)) {
    throw Error("it asks for a resize that this libpaco_classify does not know: " + text("resize") +
                " by " + result.interpolation + " of " + result.resize_backend);
  }
}

std::string shape(int height, int width) {
  return std::to_string(width) + " x " + std::to_string(height) + " pixels";
}

/// Height and width, or nothing if the image is beyond what it can be resized to.
std::optional<std::array<int, 2>> resized_size(const Bitmap& image, const Preprocessing& p) {
  constexpr int64_t kMostPixels = 1 << 28;
  int64_t height = p.resize.front();
  int64_t width = p.resize.back();
  if (p.resize.size() == 1) {
    const bool by_width = p.resize_edge == "width" ||
                          (p.resize_edge == "short" && image.width < image.height) ||
                          (p.resize_edge == "long" && image.width > image.height);
    const int64_t edge = p.resize[0];
    width = by_width ? edge : edge * image.width / image.height;
    height = by_width ? edge * image.height / image.width : edge;
  } else if (p.resize_keeps_ratio) {
    const auto [shorter, longer] = std::minmax(p.resize[0], p.resize[1]);
    const double factor =
        std::min(static_cast<double>(longer) / std::max(image.height, image.width),
                 static_cast<double>(shorter) / std::min(image.height, image.width));
    width = static_cast<int64_t>(image.width * factor + 0.5);    // NOLINT: as the toolbox rounds
    height = static_cast<int64_t>(image.height * factor + 0.5);  // NOLINT
  }
  if (width < 1 || height < 1 || width > kMostPixels || height > kMostPixels ||
      width * height > kMostPixels) {
    return {};
  }
  return std::array{static_cast<int>(height), static_cast<int>(width)};
}

/// Half a pixel goes to the even side, as Python's round has it.
int rounded(double x) { return static_cast<int>(std::lrint(x)); }

/// The square in the center of which EfficientNet's images are resized.
Bitmap efficientnet_crop(const Bitmap& image, int size, int padding) {
  const double edge =
      static_cast<double>(size) / (size + padding) * std::min(image.height, image.width);
  const auto span = [edge](int length) {
    const int first = std::max(0, rounded((length - edge) / 2));
    const int last = std::min(length - 1, static_cast<int>(first + edge - 1));
    return std::array{first, last - first + 1};
  };
  const auto [y, height] = span(image.height);
  const auto [x, width] = span(image.width);
  return height < 1 || width < 1 ? image : image.part(y, x, height, width);
}

Bitmap resize(const Bitmap& image, const Preprocessing& p) {
  const auto size = resized_size(image, p);
  if (!size) {
    throw Error("of " + shape(image.height, image.width) + " cannot be resized");
  }
  const auto [height, width] = *size;
  return p.resize_backend == "pillow"
             ? resize_like_pillow(image, height, width, p.interpolation, p.pillow_version)
             : resize_like_opencv(image, height, width, p.interpolation);
}

}  // namespace

template <typename T>
std::vector<T> parse_numbers(const std::string& name, const std::string& text) {
  std::vector<T> numbers;
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p != end) {
    T number;
    const auto [stop, error] = std::from_chars(p, end, number);
    if (error != std::errc() || (stop != end && *stop != ',')) {
      throw Error("its " + name + " should be numbers and is '" + text + "'");
    }
    numbers.push_back(number);
    p = stop == end ? end : stop + 1;
  }
  return numbers;
}

template std::vector<float> parse_numbers(const std::string& name, const std::string& text);
template std::vector<int> parse_numbers(const std::string& name, const std::string& text);
template std::vector<int64_t> parse_numbers(const std::string& name, const std::string& text);

Preprocessing parse_preprocessing(const FindText& text) {
  Preprocessing result;
  static const std::map<std::string, Channels> kChannels = {
      {"RGB", Channels::kRGB}, {"BGR", Channels::kBGR}, {"GRAY", Channels::kGray}};
  const auto found = kChannels.find(text("channels"));
  if (found == kChannels.end()) {
    throw Error("it does not say how to preprocess an image");
  }
  result.channels = found->second;
  result.ignore_orientation = text("orientation") == "ignored";
  const size_t channels = result.channels == Channels::kGray ? 1 : 3;
  const std::vector<float> mean = parse_numbers<float>("mean", text("mean"));
  const std::vector<float> std = parse_numbers<float>("std", text("std"));
  for (const auto& [name, numbers] : {std::pair{"mean", &mean}, {"std", &std}}) {
    if (numbers->size() != channels) {
      throw Error(std::string("its ") + name + " should have a number for each of " + found->first);
    }
  }
  result.input.resize(channels);
  for (size_t c = 0; c < channels; ++c) {
    for (int value = 0; value < 256; ++value) {
      result.input[c][value] = (static_cast<float>(value) - mean[c]) / std[c];
    }
  }

  parse_resize(text, result);
  const std::vector<int> crop = parse_sizes("crop", text);
  if (crop.size() == 2) {
    result.crop = {crop[0], crop[1]};
  }
  const std::vector<int> input = parse_sizes("input_shape", text);
  if (input.size() != 3 || input[0] != static_cast<int>(channels) || crop.size() % 2 != 0) {
    throw Error("its input_shape is '" + text("input_shape") + "' and its crop '" + text("crop") +
                "', which fit no image");
  }
  result.input_shape = {input[0], input[1], input[2]};
  return result;
}

void preprocess(const Image& image, const Preprocessing& p, float* output) {
  auto [bitmap, reversed] = read(image, p.channels, p.ignore_orientation);
  if (p.crop_padding) {
    bitmap = efficientnet_crop(bitmap, p.resize[0], *p.crop_padding);
  }
  if (!p.resize.empty()) {
    bitmap = resize(bitmap, p);
  }
  if (p.crop) {
    const auto [height, width] = *p.crop;
    if (bitmap.height >= height && bitmap.width >= width) {
      bitmap = bitmap.part(rounded((bitmap.height - height) / 2.0),
                           rounded((bitmap.width - width) / 2.0), height, width);
    }
  }
  const auto [channels, height, width] = p.input_shape;
  if (bitmap.height != height || bitmap.width != width) {
    throw Error("comes to " + shape(bitmap.height, bitmap.width) + ", and the model takes " +
                shape(height, width));
  }
  for (int c = 0; c < channels; ++c) {
    const std::array<float, 256>& input = p.input[c];
    for (int y = 0; y < height; ++y) {
      const uint8_t* row = bitmap.row(y) + (reversed ? channels - 1 - c : c);
      for (int x = 0; x < width; ++x) {
        *output++ = input[row[static_cast<std::ptrdiff_t>(x) * channels]];
      }
    }
  }
}

}  // namespace paco::classify
