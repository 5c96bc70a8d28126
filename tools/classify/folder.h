#pragma once

#include <map>
#include <string>
#include <vector>

namespace paco::classify {

/// Image files to classify, and what folders hold beside them.
struct Images {
  std::vector<std::string> paths;          ///< those of a folder in the order of their names
  std::map<std::string, size_t> left_out;  ///< how many files and folders, by the reason
  std::vector<std::string> unread;         ///< sentences about folders that cannot be read
};

/// Adds the images of a folder and of its folders: the files that long_tailed_list.py lists.
/// Throws Failure where there are none.
void add_folder(const std::string& folder, Images& images);

}  // namespace paco::classify
