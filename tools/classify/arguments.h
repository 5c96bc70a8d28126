#pragma once

#include <paco/classify.h>

#include <optional>
#include <string>

namespace paco::classify {

/// The command line's options.
struct Arguments {
  std::string model;
  ImageFiles images;
  ClassifierOptions options;
  std::string target_prior;   ///< a file, or empty
  std::string features_file;  ///< likewise
  int top_k = 5;
  bool json = false;
};

/// Nothing if the command line asks for help, which has been printed. Throws Error for a command
/// line that is none. Folders are searched for images.
std::optional<Arguments> parse_arguments(int argc, char** argv);

}  // namespace paco::classify
