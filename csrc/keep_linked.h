#pragma once

#include "macros.h"

namespace paco {

/// Makes sure that libpaco is linked, and so that its operators are registered.
///
/// Loading libpaco registers them; this function does nothing. Its call is a use of the library
/// that keeps the linker from dropping it. Programs that link the CMake target Paco::paco, or load
/// libpaco with dlopen, need no call.
PACO_API void keep_linked();

}  // namespace paco
