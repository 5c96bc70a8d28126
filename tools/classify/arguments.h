#pragma once

#include <string>

#include "folder.h"

namespace paco::classify {

/// The command line's options.
struct Arguments {
  std::string model;
  Images images;
  int top_k = 5;
  bool json = false;
  int batch_size = 64;
  int threads = 0;  ///< 0: as many as PyTorch takes by itself
};

extern const char* const kUsage;

/// Throws Failure for a command line that is none. Folders are searched for images.
Arguments parse_arguments(int argc, char** argv);

}  // namespace paco::classify
