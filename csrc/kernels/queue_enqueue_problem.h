#pragma once

#include <cstdint>

#include "element.h"

namespace paco {

// An array of any strides, counted in elements; a vector has no column stride.
struct StridedArray {
  void* data;
  int64_t row_stride;
  int64_t column_stride;
};

// Keys and labels on their way into a ring buffer; see ops/queue_enqueue.h.
struct QueueEnqueueProblem {
  ElementType queue_type;
  ElementType key_type;
  StridedArray queue;         // [K, D], written
  StridedArray queue_labels;  // [K] int64, or [K, C] of bool, written
  StridedArray queue_state;   // [2] int64, written: the next row to write, the number of valid rows
  StridedArray keys;          // [B, D]
  StridedArray labels;        // [B] int64, or [B, C] of bool
  int64_t queue_rows;         // K
  int64_t num_keys;           // B
  int64_t dim;                // D
  int64_t label_columns = 1;  // C, 1 for labels of int64
  bool label_vectors = false;  // whether labels are of bool
};

}  // namespace paco
