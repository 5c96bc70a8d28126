#include "arguments.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "failure.h"

namespace paco::classify {

const char* const kUsage =
    "usage: paco-classify [options] MODEL IMAGE|FOLDER...\n"
    "\n"
    "Classifies JPEG and PNG images with a model that tools/export.py wrote (.pt or .pt2).\n"
    "A .pt2 file holds machine code: run only those whose maker you trust.\n"
    "\n"
    "  --top-k N       classes to name for each image (default 5)\n"
    "  --json          one JSON object a line, instead of a table\n"
    "  --batch-size N  images to classify at once (default 64)\n"
    "  --threads N     processor threads (default: as many as PyTorch takes)\n"
    "\n"
    "Exit status: 0, or 1 if an image was skipped, or 2 if nothing could be done.\n";

namespace {

namespace fs = std::filesystem;

int positive_number(const std::string& option, const char* text) {
  int number = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, number);
  if (error != std::errc() || stop != end || number < 1) {
    throw Failure(option + " takes a number of at least 1, got '" + text + "'");
  }
  return number;
}

bool is_named_like_an_image(const fs::path& path) {
  std::string suffix = path.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return suffix == ".jpg" || suffix == ".jpeg" || suffix == ".png";
}

void add_images(const std::string& argument, std::vector<std::string>& images) {
  std::error_code error;
  if (!fs::is_directory(argument, error)) {
    images.push_back(argument);  // what it is, reading it will tell
    return;
  }
  std::vector<std::string> found;
  std::error_code unknown;  // of one file, such as a link to itself, which is none then
  const auto options = fs::directory_options::skip_permission_denied;
  for (fs::recursive_directory_iterator it(argument, options, error), end; it != end;
       it.increment(error)) {
    if (is_named_like_an_image(it->path()) && it->is_regular_file(unknown)) {
      found.push_back(it->path().string());
    }
  }
  if (error) {
    throw Failure("the folder " + argument + " cannot be read: " + error.message());
  }
  if (found.empty()) {
    throw Failure("the folder " + argument + " has no .jpg, .jpeg or .png file");
  }
  std::sort(found.begin(), found.end());
  images.insert(images.end(), found.begin(), found.end());
}

}  // namespace

Arguments parse_arguments(int argc, char** argv) {
  Arguments arguments;
  std::vector<std::string> rest;
  bool options = true;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value = [&] {
      return i + 1 < argc ? argv[++i] : throw Failure(argument + " takes a number");
    };
    if (!options || !argument.starts_with('-')) {
      rest.push_back(argument);
    } else if (argument == "--") {
      options = false;
    } else if (argument == "--json") {
      arguments.json = true;
    } else if (argument == "--top-k") {
      arguments.top_k = positive_number(argument, value());
    } else if (argument == "--batch-size") {
      arguments.batch_size = positive_number(argument, value());
    } else if (argument == "--threads") {
      arguments.threads = positive_number(argument, value());
    } else {
      throw Failure("there is no option " + argument + "; paco-classify --help names them all");
    }
  }
  if (rest.size() < 2) {
    throw Failure("a model and at least one image are needed; see paco-classify --help");
  }
  arguments.model = rest[0];
  for (size_t i = 1; i < rest.size(); ++i) {
    add_images(rest[i], arguments.images);
  }
  return arguments;
}

}  // namespace paco::classify
