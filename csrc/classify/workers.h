#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "image.h"
#include "model.h"

namespace paco::classify {

/// Results of a part of a list of images.
struct Chunk {
  /// An image's row of the outputs, or why it has none.
  struct Entry {
    int64_t row = -1;
    std::string error;
  };
  std::vector<Entry> entries;
  Outputs outputs;
};

/// Whether a softmax can be taken of logits; a class of probability 0 may have -inf.
bool are_numbers(std::span<const float> logits);

/// Threads for a list, where `threads` are to be busy: with a GPU one more, which waits for it.
int list_threads(const Model& model, int threads);

/// Decodes and classifies images of a list, in parts of at most `size`, and hands the parts out in
/// order, in the calling thread, until `receive` returns false.
///
/// Each of list_threads() takes a part from the file to the logits, alone. On a processor all of
/// them compute all the time, and no order of the work would take less. While one waits for a disk
/// or a GPU, the others decode. What has been computed and not been received is bounded, so that a
/// list takes no more memory than a few parts. A list of one part runs in the calling thread, with
/// all threads in the network.
void for_each_chunk(const Model& model, const std::vector<Image>& images, size_t size, int threads,
                    const std::function<bool(size_t first, const Chunk&)>& receive);

}  // namespace paco::classify
