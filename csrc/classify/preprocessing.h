#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bitmap.h"
#include "image.h"

namespace paco::classify {

/// How an image becomes the input of a model: decode to 8 bits a channel, resize, cut out the
/// center, subtract the mean and divide by the standard deviation. paco.image_metadata, which
/// writes this into the model's file, explains each setting.
struct Preprocessing {
  Channels channels;
  bool ignore_orientation;                    ///< that a JPEG's camera noted
  std::vector<std::array<float, 256>> input;  ///< of each channel, by the pixel's value
  std::optional<int> crop_padding;            ///< of EfficientNet's crop, before the resize
  std::vector<int> resize;                    ///< {}, {an edge} or {height, width}
  std::string resize_edge;                    ///< "short", "long", "width" or "height"
  bool resize_keeps_ratio;                    ///< fits into {height, width}, turned as the image is
  std::string resize_backend;                 ///< "cv2" or "pillow"
  int pillow_version;                         ///< major version of the Pillow that it is like
  std::string interpolation;                  ///< "bilinear" and so on
  std::optional<std::array<int, 2>> crop;     ///< height, width
  std::array<int, 3> input_shape;             ///< channels, height, width of what the model takes
};

/// Finds a text by its name in the model's file; empty where there is none.
using FindText = std::function<std::string(const std::string& name)>;

/// Throws Error for texts that no export wrote.
Preprocessing parse_preprocessing(const FindText& text);

/// Numbers with commas between them. Throws Error, which names them, for other text.
template <typename T>
std::vector<T> parse_numbers(const std::string& name, const std::string& text);

/// Writes an image as [C, H, W]. Throws Error, a sentence without its subject, for what is no image
/// and for one that the preprocessing does not bring to the input's size.
void preprocess(const Image& image, const Preprocessing& preprocessing, float* output);

}  // namespace paco::classify
