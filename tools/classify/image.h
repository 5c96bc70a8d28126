#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace paco::classify {

/// How an image file becomes the input of a model: decode to 8 bits a channel, resize, cut out the
/// center, subtract the mean and divide by the standard deviation. paco.deploy.image_metadata,
/// which writes this into the model's file, explains each setting.
struct Preprocessing {
  std::string channels;                    ///< "RGB", "BGR" or "GRAY"
  at::Tensor mean;                         ///< [C, 1, 1]
  at::Tensor std;                          ///< [C, 1, 1]
  std::vector<int> resize;                 ///< {}, {shorter edge} or {height, width}
  std::string resize_backend;              ///< "cv2" or "pillow"
  std::string interpolation;               ///< "bilinear" and so on
  std::optional<std::array<int, 2>> crop;  ///< height, width
  std::array<int, 2> input_size;           ///< height, width of what the model takes
};

/// Finds a text by its name in the model's file; empty where there is none.
using FindText = std::function<std::string(const std::string& name)>;

/// Throws Failure for texts that no export wrote.
Preprocessing parse_preprocessing(const FindText& text);

/// Reads an image file into [C, H, W], float32 and contiguous. Throws Failure for a file that is no
/// image, or one that the preprocessing does not bring to the input's size.
at::Tensor read_image(const std::string& path, const Preprocessing& preprocessing);

}  // namespace paco::classify
