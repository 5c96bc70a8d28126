#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "../macros.h"

namespace paco {

/// Image files, and what folders hold beside them.
struct ImageFiles {
  std::vector<std::string> paths;          ///< those of a folder in the order of their names
  std::map<std::string, size_t> left_out;  ///< how many files and folders, by the reason
  std::vector<std::string> unread;         ///< sentences about folders that cannot be read
};

/// Adds the images of a folder and of its folders: the files that long_tailed_list.py lists, none
/// that is hidden, and none of a name that is no image's. Throws Error where there are none.
PACO_API void add_folder(const std::string& folder, ImageFiles& files);

/// Images with labels.
struct LabelledImages {
  std::vector<std::string> classes;  ///< names of the folders, sorted
  std::vector<std::string> paths;
  std::vector<int64_t> labels;  ///< of each path
};

/// The images of folder/class/..., as training takes them. Throws Error where there are none, and
/// for images that are in no folder of a class.
PACO_API LabelledImages labelled_images(const std::string& folder);

}  // namespace paco
