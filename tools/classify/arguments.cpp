#include "arguments.h"

#include <charconv>
#include <cstring>
#include <filesystem>

#include "failure.h"

namespace paco::classify {

const char* const kUsage =
    "usage: paco-classify [options] MODEL IMAGE|FOLDER...\n"
    "\n"
    "Classifies images with a model that tools/export.py wrote (.pt or .pt2). Both kinds of file\n"
    "hold code, which may read and write your files: run only those whose maker you trust.\n"
    "A folder's images, and its folders', are the files that long_tailed_list.py lists for "
    "training:\n"
    ".bmp .jpeg .jpg .pgm .png .ppm .tif .tiff .webp, and none that is hidden. GIFs and animated\n"
    "images are skipped: programs take other frames of them.\n"
    "\n"
    "  --top-k N       classes to name for each image (default 5)\n"
    "  --json          one JSON object a line, instead of a table; a byte XX of a name that is "
    "not\n"
    "                  UTF-8 is written \\udcXX, so that Python's os.fsencode gives the name back\n"
    "  --batch-size N  images to classify at once (default 64)\n"
    "  --threads N     processor threads (default: as many as PyTorch takes)\n"
    "\n"
    "Exit status: 0, or 1 if an image or a folder was skipped, or 2 if nothing could be done.\n";

namespace {

int positive_number(const std::string& option, const char* text) {
  int number = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, number);
  if (error != std::errc() || stop != end || number < 1) {
    throw Failure(option + " takes a number of at least 1, got '" + text + "'");
  }
  return number;
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
    std::error_code error;
    if (std::filesystem::is_directory(rest[i], error)) {
      add_folder(rest[i], arguments.images);
    } else {
      arguments.images.paths.push_back(rest[i]);  // what it is, reading it will tell
    }
  }
  return arguments;
}

}  // namespace paco::classify
