// From image files to class names.
//
//   classify_images MODEL IMAGE...
//
// MODEL is a file that tools/export.py wrote.

#include <paco/classify.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: classify_images MODEL IMAGE...\n";
    return 2;
  }
  try {
    const paco::Classifier classifier(argv[1]);
    for (int i = 2; i < argc; ++i) {
      std::cout << argv[i];
      for (const paco::Prediction& best : classifier.classify(argv[i], 5)) {
        std::cout << "  " << best.name << ' ' << 100 * best.probability << " %";
      }
      std::cout << '\n';
    }
  } catch (const paco::Error& error) {
    std::cerr << "classify_images: " << error.what() << '\n';
    return 1;
  }
}
