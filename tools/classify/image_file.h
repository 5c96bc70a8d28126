#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace paco::classify {

/// The bytes of an image file, for OpenCV to decode. Throws Failure for what is no file, and for
/// files of which OpenCV, depending on its version, would make up the pixels or choose a frame.
std::vector<uint8_t> read_image_file(const std::string& path);

}  // namespace paco::classify
