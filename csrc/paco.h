#pragma once

// The public C++ API of libpaco.

#include "build_info.h"                 // IWYU pragma: export
#include "keep_linked.h"                // IWYU pragma: export
#include "ops/bcl_loss.h"               // IWYU pragma: export
#include "ops/center_logits.h"          // IWYU pragma: export
#include "ops/class_mean_update.h"      // IWYU pragma: export
#include "ops/multi_label_paco_loss.h"  // IWYU pragma: export
#include "ops/paco_loss.h"              // IWYU pragma: export
#include "ops/queue_enqueue.h"          // IWYU pragma: export
#include "ops/vmf_logits.h"             // IWYU pragma: export
