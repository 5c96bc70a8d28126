#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../integers.h"
#include "../paco_loss_problem.h"
#include "rows.h"

// The columns of the pairs: the rows of `features`, then the valid rows of `queue`.
namespace paco::cpu {

// A tile of logits, its columns and a block of anchors with their sums fit a 1 MiB L2 cache for D
// <= 256.
constexpr int64_t kTileColumns = 256;

struct Segment {
  Rows rows;
  const int64_t* labels;
  bool holds_anchors;  // anchors may be among its rows
};

struct Tile {
  const Segment* segment;
  int64_t begin;
  int64_t size;

  Rows rows() const { return segment->rows.narrow(begin, size); }
  const int64_t* labels() const { return segment->labels + begin; }
};

inline Rows feature_rows(const PaCoLossProblem& problem) {
  return {problem.features, problem.type, problem.num_rows, problem.dim, problem.dim};
}

inline Rows anchor_matrix(const PaCoLossProblem& problem) {
  const void* const anchors = problem.share.anchors;
  return {anchors != nullptr ? anchors : problem.features, problem.type, problem.num_anchors,
          problem.dim, problem.dim};
}

inline std::vector<Segment> column_segments(const PaCoLossProblem& problem) {
  std::vector<Segment> segments{{feature_rows(problem), problem.labels, /*holds_anchors=*/true}};
  if (problem.queue != nullptr) {
    const int64_t valid = problem.num_valid == nullptr ? problem.queue_rows : *problem.num_valid;
    segments.push_back({{problem.queue, problem.type, valid, problem.dim, problem.queue_stride},
                        problem.queue_labels,
                        /*holds_anchors=*/false});
  }
  return segments;
}

// Columns [first, last) of all segments in tiles of about the same size.
inline std::vector<Tile> cut_into_tiles(const std::vector<Segment>& segments, int64_t first,
                                        int64_t last) {
  std::vector<Tile> tiles;
  int64_t offset = 0;
  for (const Segment& segment : segments) {
    const int64_t begin = std::max<int64_t>(first - offset, 0);
    const int64_t end = std::min(last - offset, segment.rows.size);
    offset += segment.rows.size;
    if (begin >= end) continue;
    const int64_t size = divide_up(end - begin, divide_up(end - begin, kTileColumns));
    for (int64_t at = begin; at < end; at += size) {
      tiles.push_back({&segment, at, std::min(size, end - at)});
    }
  }
  return tiles;
}

}  // namespace paco::cpu
