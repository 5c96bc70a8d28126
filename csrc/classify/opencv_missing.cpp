#include "error.h"
#include "opencv.h"

namespace paco::classify {

const bool kHasOpenCV = false;

Bitmap decode(std::span<const uint8_t> /*file*/, bool /*gray*/, bool /*ignore_orientation*/) {
  throw Error(
      "is an image file, and this libpaco_classify was built without OpenCV: give it decoded "
      "pixels, or build it where OpenCV is (Debian's libopencv-dev)");
}

Bitmap resize_like_opencv(const Bitmap& /*image*/, int /*height*/, int /*width*/,
                          const std::string& /*interpolation*/) {
  throw Error(
      "has to be resized as OpenCV does it, and this libpaco_classify was built without OpenCV: "
      "give it pixels of the model's size, or build it where OpenCV is (Debian's libopencv-dev)");
}

}  // namespace paco::classify
