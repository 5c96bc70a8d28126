#include "arguments.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <vector>

namespace paco::classify {
namespace {

constexpr const char* kDescription =
    "Classifies images with a model that tools/export.py wrote (.pt or .pt2). Both kinds of file\n"
    "hold code, which may read and write your files: run only those whose maker you trust.";

constexpr const char* kFooter =
    "\n"
    "A folder's images, and its folders', are the files that long_tailed_list.py lists for "
    "training:\n"
    ".bmp .jpeg .jpg .pgm .png .ppm .tif .tiff .webp, and none that is hidden. GIFs and animated\n"
    "images are skipped: programs take other frames of them. Where each lies in a folder that is\n"
    "called like its class, the accuracy and the worst confusions follow at the end.\n"
    "\n"
    "Exit status: 0, or 1 if an image or a folder was skipped, or 2 if nothing could be done.";

void add(const std::string& what, ImageFiles& images) {
  std::error_code error;
  if (what == "-") {
    for (std::string line; std::getline(std::cin, line);) {
      if (!line.empty()) {
        images.paths.push_back(line);
      }
    }
  } else if (std::filesystem::is_directory(what, error)) {
    add_folder(what, images);
  } else {
    images.paths.push_back(what);  // what it is, reading it will tell
  }
}

}  // namespace

std::optional<Arguments> parse_arguments(int argc, char** argv) {
  Arguments arguments;
  std::vector<std::string> images;
  CLI::App app(kDescription, "paco-classify");
  app.footer(kFooter);
  app.add_option("MODEL", arguments.model, "the model's file")->required();
  app.add_option("IMAGE|FOLDER", images,
                 "image files, folders of them, or - for names from the standard input, one a line")
      ->required();
  const auto positive = CLI::Range(1, 1 << 30).description("");
  app.add_option("--top-k", arguments.top_k, "classes to name for each image (default 5)")
      ->check(positive)
      ->option_text("N");
  app.add_flag("--json", arguments.json,
               "one JSON object a line, instead of a table; a byte XX of a name that is not UTF-8 "
               "is written \\udcXX, so that Python's os.fsencode gives the name back");
  app.add_option("--target-prior", arguments.target_prior,
                 "a JSON file of how often each class occurs where the images are from: "
                 "{\"name\": number, ...} or [number, ...]")
      ->option_text("FILE");
  app.add_option("--features", arguments.features_file,
                 "write pooled features, a row for each image of the results, as NumPy's .npy")
      ->option_text("FILE.npy");
  app.add_option("--batch-size", arguments.options.batch_size,
                 "images to classify at once (default 64)")
      ->check(positive)
      ->option_text("N");
  app.add_option("--threads", arguments.options.threads,
                 "processor threads (default: as many as PyTorch takes)")
      ->check(positive)
      ->option_text("N");
  app.add_option("--device", arguments.options.device, "cpu (default), cuda or cuda:1")
      ->option_text("DEVICE");
  app.add_option("--dtype", arguments.options.dtype,
                 "bfloat16 to compute in it, where a .pt file computes in float32")
      ->option_text("DTYPE");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return {};
  } catch (const CLI::ParseError& error) {
    throw Error(std::string(error.what()) + "; see paco-classify --help");
  }
  arguments.options.features = !arguments.features_file.empty();
  for (const std::string& image : images) {
    add(image, arguments.images);
  }
  if (arguments.images.paths.empty()) {
    throw Error("the standard input names no image");
  }
  return arguments;
}

}  // namespace paco::classify
