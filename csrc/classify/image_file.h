#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace paco::classify {

/// The bytes of a file. Throws Error for what is no file, or too large to be an image.
std::vector<uint8_t> read_image_file(const std::filesystem::path& path);

/// Throws Error for files of which OpenCV, depending on its version, would make up the pixels or
/// choose a frame.
void check_image_file(std::span<const uint8_t> file);

}  // namespace paco::classify
