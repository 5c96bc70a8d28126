#pragma once

// From image files to class names: libpaco_classify, CMake's Paco::classify.

#include "classify/accuracy.h"      // IWYU pragma: export
#include "classify/classifier.h"    // IWYU pragma: export
#include "classify/error.h"         // IWYU pragma: export
#include "classify/image.h"         // IWYU pragma: export
#include "classify/image_folder.h"  // IWYU pragma: export
