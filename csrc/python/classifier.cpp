#include "classifier.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../classify.h"

namespace py = pybind11;

namespace paco::python {
namespace {

/// Images, and the Python objects in whose memory they are.
struct Images {
  std::vector<Image> images;
  std::vector<py::object> owners;
};

/// A file's name in the bytes that the system knows it by.
std::string path_of(const py::handle& path) {
  return py::module_::import("os").attr("fsencode")(path).cast<std::string>();
}

Pixels pixels_of(const py::array& array, const std::string& channels) {
  const bool gray = array.ndim() == 2 || array.shape(2) == 1;
  if (!gray && array.shape(2) != 3) {
    throw Error("an image must have 1 or 3 channels, got the shape " +
                py::str(array.attr("shape")).cast<std::string>());
  }
  if (std::max(array.shape(0), array.shape(1)) > std::numeric_limits<int>::max()) {
    throw Error("an image must have less than 2**31 rows and columns, got the shape " +
                py::str(array.attr("shape")).cast<std::string>());
  }
  Pixels pixels;
  pixels.data = static_cast<const uint8_t*>(array.data());
  pixels.height = static_cast<int>(array.shape(0));
  pixels.width = static_cast<int>(array.shape(1));
  pixels.channels = gray ? Channels::kGray : channels == "RGB" ? Channels::kRGB : Channels::kBGR;
  pixels.row_stride = array.strides(0);
  pixels.pixel_stride = array.strides(1);
  pixels.channel_stride = gray ? 0 : array.strides(2);
  return pixels;
}

void add(const py::handle& object, const std::string& channels, Images& to) {
  if (py::isinstance<py::str>(object) || py::hasattr(object, "__fspath__")) {
    to.images.emplace_back(path_of(object));
    return;
  }
  if (!py::isinstance<py::buffer>(object)) {
    throw py::type_error(
        "an image must be a path, the bytes of a file, or an array of uint8, got " +
        py::repr(py::type::of(object)).cast<std::string>());
  }
  // A view of the same memory; of bytes themselves NumPy would make a string.
  const py::module_ numpy = py::module_::import("numpy");
  py::array array = numpy.attr("asarray")(py::isinstance<py::array>(object)
                                              ? object.cast<py::object>()
                                              : py::memoryview(object.cast<py::object>()));
  if (!py::isinstance<py::array_t<uint8_t>>(array) || array.ndim() < 1 || array.ndim() > 3 ||
      array.size() == 0) {
    throw Error("an image must be an array of uint8 [H, W] or [H, W, C], got " +
                py::str(array.dtype()).cast<std::string>() + " of the shape " +
                py::str(array.attr("shape")).cast<std::string>());
  }
  if (array.ndim() == 1) {
    const auto file = py::array_t<uint8_t, py::array::c_style>::ensure(array);
    to.owners.push_back(file);
    to.images.emplace_back(Image::File(file.data(), static_cast<size_t>(file.size())));
  } else {
    Pixels pixels = pixels_of(array, channels);
    // To NumPy a stride of 0 repeats a number; to Pixels it says that nothing lies between two.
    const std::span strides(array.strides(), array.ndim());
    if (std::find(strides.begin(), strides.end(), 0) != strides.end()) {
      array = numpy.attr("ascontiguousarray")(array);
      pixels = pixels_of(array, channels);
    }
    to.owners.push_back(array);
    to.images.emplace_back(pixels);
  }
}

Images images_of(const py::object& objects, const std::string& channels) {
  if (channels != "RGB" && channels != "BGR") {
    throw Error("channels must be RGB or BGR, got " + channels);
  }
  Images result;
  for (const py::handle object : objects) {
    add(object, channels, result);
  }
  return result;
}

bool is_batch(const py::object& object) {
  return py::isinstance<py::list>(object) || py::isinstance<py::tuple>(object) ||
         (py::isinstance<py::array>(object) && py::array(object).ndim() == 4);
}

/// Rows as an array that owns their memory.
py::array_t<float> array_of(std::vector<float> values, int64_t rows) {
  auto owner = std::make_unique<std::vector<float>>(std::move(values));
  const int64_t columns = rows == 0 ? 0 : static_cast<int64_t>(owner->size()) / rows;
  const float* data = owner->data();
  const py::capsule free(owner.release(),
                         [](void* memory) { delete static_cast<std::vector<float>*>(memory); });
  return py::array_t<float>({rows, columns}, data, free);
}

py::array_t<float> copy_of(std::span<const float> values) {
  return py::array_t<float>(static_cast<py::ssize_t>(values.size()), values.data());
}

/// An ImageResult, and the memory of its rows.
struct Result {
  size_t index;
  std::string error;
  py::array_t<float> logits;
  py::array_t<float> features;
};

py::object classify(const Classifier& classifier, const py::object& image, int top_k,
                    const std::string& channels) {
  const bool batch = is_batch(image);
  const Images images = images_of(batch ? image : py::make_tuple(image), channels);
  std::vector<std::vector<Prediction>> best;
  std::vector<Prediction> best_of_one;
  {
    const py::gil_scoped_release release;
    if (batch) {
      best = classifier.classify(images.images, top_k);
    } else {
      best_of_one = classifier.classify(images.images[0], top_k);
    }
  }
  return batch ? py::cast(best) : py::cast(best_of_one);
}

py::object run(const Classifier& classifier, const py::object& objects, const py::object& visit,
               const std::string& channels) {
  const Images images = images_of(objects, channels);
  if (!visit.is_none()) {
    const py::gil_scoped_release release;
    classifier.run(images.images, [&](const ImageResult& result) {
      const py::gil_scoped_acquire acquire;
      const py::object go_on = visit(
          Result{result.index, result.error, copy_of(result.logits), copy_of(result.features)});
      return go_on.is_none() || go_on.cast<bool>();
    });
    return py::none();
  }
  BatchResult result;
  {
    const py::gil_scoped_release release;
    result = classifier.run(images.images);
  }
  py::object features = py::none();
  if (!result.features.empty()) {
    features = array_of(std::move(result.features), result.images);
  }
  return py::make_tuple(array_of(std::move(result.logits), result.images), features);
}

ClassifierOptions options_of(std::string device, std::string dtype, int threads, int batch_size,
                             std::vector<double> target_prior, bool features) {
  return {std::move(device), std::move(dtype),        threads,
          batch_size,        std::move(target_prior), features};
}

constexpr const char* kClassifier = R"(An exported classifier, from image file to class names.

This is the C++ class paco::Classifier, with the same numbers to the bit. Calls let other Python
threads run, and may come from several threads at once.

Args:
    path: a .pt or .pt2 file of :func:`paco.deploy.export_classifier` that says how an image becomes
        its input, as tools/export.py writes it. It holds code: take only those whose maker you trust.
    device: "cpu", "cuda" or "cuda:1".
    dtype: "" as exported, or "bfloat16" for a .pt file of float32.
    threads: processor threads, 0 for as many as PyTorch takes.
    batch_size: images that are in the network at once, all threads together.
    target_prior: how often each class occurs where the classifier is used, in any unit; empty if
        all are as likely as each other. Not for a file that was exported with one.
    features: give pooled features too.

Raises:
    ValueError: for a file that is no such classifier, and options that it cannot fulfil.)";

constexpr const char* kClassify = R"(classify(image, top_k=5, *, channels="RGB")

The best classes of an image, or of each of a list.

Args:
    image: a path, the bytes of an image file, or pixels, uint8 [H, W] or [H, W, C] in any strides;
        a list of such, or an array [N, H, W, C].
    top_k: how many classes.
    channels: of pixels, "RGB" or "BGR".

Returns:
    A list of Prediction, best first; for a list of images a list of such lists.

Raises:
    ValueError: for an image that cannot be read, or has logits that are not numbers.)";

constexpr const char* kWithTargetPrior = R"(with_target_prior(prior)

The same classifier, network and all, for other frequencies of the classes.

Args:
    prior: as the constructor's ``target_prior``; empty for all classes as likely as each other.

Raises:
    ValueError: as the constructor.)";

constexpr const char* kRun = R"(run(images, visit=None, *, channels="RGB")

Logits and pooled features of a list of images.

Args:
    images: a list of what :meth:`classify` takes.
    visit: called with an ImageResult for each image, in order, while others are computed; an image
        that cannot be read has its ``error``. Returning False ends the list. Without it the first
        such image raises.
    channels: as above.

Returns:
    float32 [N, C] and [N, F], the latter None unless asked for; with ``visit`` None.

Raises:
    ValueError: as above.)";

}  // namespace

void add_classifier(py::module_& module) {
  py::options options;
  options.disable_function_signatures();  // the docstrings have better ones
  py::register_local_exception_translator(
      [](std::exception_ptr exception) {  // NOLINT: pybind11's signature
        try {
          if (exception) {
            std::rethrow_exception(exception);
          }
        } catch (const Error& error) {
          py::set_error(PyExc_ValueError, error.what());
        }
      });
  py::class_<Prediction>(module, "Prediction", "A class and how likely it is.")
      .def_readonly("name", &Prediction::name)
      .def_readonly("probability", &Prediction::probability)
      .def_readonly("index", &Prediction::index, "of the class")
      .def_readonly("logit", &Prediction::logit)
      .def("__repr__", [](const Prediction& p) {
        return "Prediction(name=" + py::repr(py::str(p.name)).cast<std::string>() +
               ", probability=" + std::to_string(p.probability) +
               ", index=" + std::to_string(p.index) + ", logit=" + std::to_string(p.logit) + ")";
      });
  py::class_<Result>(module, "ImageResult", "What a classifier says of one image of a list.")
      .def_readonly("index", &Result::index, "of the image in the list")
      .def_readonly("error", &Result::error, "a sentence, empty if there are logits")
      .def_readonly("logits", &Result::logits, "float32 [C]")
      .def_readonly("features", &Result::features, "float32 [F], empty unless asked for");
  py::class_<Classifier> classifier(module, "Classifier", kClassifier);
  classifier.attr("__module__") = "paco";
  classifier
      .def(py::init([](const py::object& path, std::string device, std::string dtype, int threads,
                       int batch_size, std::vector<double> target_prior, bool features) {
             const std::string file = path_of(path);
             const ClassifierOptions settings =
                 options_of(std::move(device), std::move(dtype), threads, batch_size,
                            std::move(target_prior), features);
             const py::gil_scoped_release release;
             return std::make_unique<Classifier>(file, settings);
           }),
           py::arg("path"), py::kw_only(), py::arg("device") = "cpu", py::arg("dtype") = "",
           py::arg("threads") = 0, py::arg("batch_size") = 64,
           py::arg("target_prior") = std::vector<double>(), py::arg("features") = false)
      .def("classify", &classify, kClassify, py::arg("image"), py::arg("top_k") = 5, py::kw_only(),
           py::arg("channels") = "RGB")
      .def("with_target_prior", &Classifier::with_target_prior, kWithTargetPrior, py::arg("prior"))
      .def("run", &run, kRun, py::arg("images"), py::arg("visit") = py::none(), py::kw_only(),
           py::arg("channels") = "RGB")
      .def_property_readonly("classes", &Classifier::classes)
      .def_property_readonly("class_counts", &Classifier::class_counts,
                             "training images of each class, empty if the file does not say")
      .def_property_readonly("input_shape", &Classifier::input_shape,
                             "channels, height and width of the network's input")
      .def_property_readonly("feature_size", &Classifier::feature_size,
                             "width of the pooled features, 0 if the file has none")
      .def_property_readonly("texts", &Classifier::texts, "texts of the file by name")
      .def_property_readonly("warning", &Classifier::warning,
                             "what is not as it should be, though results are right; mostly empty");
}

}  // namespace paco::python
