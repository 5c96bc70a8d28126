#pragma once

// Modules to train with in C++: the twins of Python's paco.nn, under the same state names.

#include "nn/bcl_loss.h"          // IWYU pragma: export
#include "nn/class_centers.h"     // IWYU pragma: export
#include "nn/feature_queue.h"     // IWYU pragma: export
#include "nn/log_prior.h"         // IWYU pragma: export
#include "nn/momentum_encoder.h"  // IWYU pragma: export
#include "nn/momentum_update.h"   // IWYU pragma: export
#include "nn/paco_loss.h"         // IWYU pragma: export
#include "nn/pixel_paco_loss.h"   // IWYU pragma: export
#include "nn/proco_loss.h"        // IWYU pragma: export
#include "nn/training_step.h"     // IWYU pragma: export
