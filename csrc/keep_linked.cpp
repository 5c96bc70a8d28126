#include "keep_linked.h"

namespace paco {

void keep_linked() {}

}  // namespace paco
