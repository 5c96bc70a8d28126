#include "image_folder.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <utility>

#include "error.h"

namespace paco {
namespace {

namespace fs = std::filesystem;

// Both, and the reasons below, are those of tools/dataset_converters/long_tailed_list.py: a model
// gets the images that it was trained on.
const std::set<std::string> kExtensions = {".bmp", ".jpeg", ".jpg",  ".pgm", ".png",
                                           ".ppm", ".tif",  ".tiff", ".webp"};
const std::set<std::string> kHidden = {"__MACOSX", "@eaDir", "$RECYCLE.BIN",
                                       "System Volume Information", "lost+found"};

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; });
  return text;
}

/// `above` are the folders that lead here; a link to one of them would lead around for ever.
void add_images(const fs::path& folder, std::vector<fs::path> above, ImageFiles& images) {
  std::error_code error;
  const fs::path here = fs::canonical(folder, error);
  if (!error && std::find(above.begin(), above.end(), here) != above.end()) {
    ++images.left_out["links to a folder above"];
    return;
  }
  above.push_back(here);
  for (fs::directory_iterator it(folder, error), end; it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code unknown;  // of one file, which is none of the kinds asked for then
    if (name.starts_with('.') || kHidden.contains(name)) {
      ++images.left_out["hidden"];
    } else if (it->is_symlink(unknown) && !it->exists(unknown)) {
      ++images.left_out["broken links"];
    } else if (it->is_directory(unknown)) {
      add_images(it->path(), above, images);
    } else if (!kExtensions.contains(lower_case(it->path().extension().string()))) {
      ++images.left_out["not named like images"];
    } else if (!it->is_regular_file(unknown)) {
      ++images.left_out["pipes, sockets or devices"];
    } else {
      images.paths.push_back(it->path().string());
    }
  }
  if (error) {
    images.unread.push_back("the folder " + folder.string() +
                            " cannot be read: " + error.message());
  }
}

}  // namespace

void add_folder(const std::string& folder, ImageFiles& images) {
  const size_t before = images.paths.size();
  const size_t unread = images.unread.size();
  add_images(folder, {}, images);
  if (images.paths.size() == before) {
    if (images.unread.size() > unread) {
      throw Error(images.unread.back());
    }
    std::string names;
    for (const std::string& extension : kExtensions) {
      names += " " + extension;
    }
    throw Error("the folder " + folder + " has no image:" + names);
  }
  std::sort(images.paths.begin() + static_cast<std::ptrdiff_t>(before), images.paths.end());
}

LabelledImages labelled_images(const std::string& folder) {
  ImageFiles files;
  add_folder(folder, files);
  LabelledImages result;
  std::set<std::string> names;
  std::vector<std::string> names_of_paths;
  for (const std::string& path : files.paths) {
    const fs::path below = fs::path(path).lexically_relative(folder);
    if (!below.has_parent_path()) {
      throw Error("the image " + path + " is in no folder of a class");
    }
    names_of_paths.push_back(below.begin()->string());
    names.insert(names_of_paths.back());
  }
  result.classes.assign(names.begin(), names.end());
  for (const std::string& name : names_of_paths) {
    result.labels.push_back(std::distance(names.begin(), names.find(name)));
  }
  result.paths = std::move(files.paths);
  return result;
}

}  // namespace paco
