// classify MODEL IMAGE: includes nothing of PyTorch.

#include <paco/classify.h>

#include <iostream>

int main(int /*argc*/, char** argv) {
  try {
    std::cout << paco::Classifier(argv[1]).classify(argv[2], 1)[0].name << '\n';
  } catch (const paco::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
