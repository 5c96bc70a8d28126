#include "target_prior.h"

#include <paco/classify.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

namespace paco::classify {

std::vector<double> read_target_prior(const std::string& path,
                                      const std::vector<std::string>& classes) {
  const auto fail = [&](const std::string& reason) -> double {
    throw Error("the target prior " + path + " " + reason);
  };
  std::ifstream file(path);
  if (!file) {
    fail("cannot be read");
  }
  nlohmann::json json;
  std::set<std::string> names;
  const auto unique = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    if (depth == 1 && event == nlohmann::json::parse_event_t::key &&
        !names.insert(parsed.get<std::string>()).second) {
      fail("has the class " + parsed.get<std::string>() + " more than once");
    }
    return true;
  };
  try {
    json = nlohmann::json::parse(file, unique);
  } catch (const nlohmann::json::exception& error) {
    fail(std::string("is no JSON: ") + error.what());
  }
  const auto number = [&](const nlohmann::json& value, const std::string& name) {
    return value.is_number() && value.get<double>() >= 0
               ? value.get<double>()
               : fail("should have a number >= 0 for the class " + name + ", got " +
                      value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  };
  if ((!json.is_object() && !json.is_array()) || json.size() != classes.size()) {
    fail("should be an object or an array of a number for each of " +
         std::to_string(classes.size()) + " classes");
  }
  std::vector<double> prior;
  for (size_t c = 0; c < classes.size(); ++c) {
    if (json.is_object() && !json.contains(classes[c])) {
      fail("has no class " + classes[c]);
    }
    prior.push_back(number(json.is_object() ? json[classes[c]] : json[c], classes[c]));
  }
  if (std::all_of(prior.begin(), prior.end(), [](double q) { return q == 0; })) {
    fail("has 0 for every class");
  }
  return prior;
}

}  // namespace paco::classify
