// The logits of vmf_logits by the standard library's Bessel functions, which hold to kappa~ of some
// hundreds.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace paco::testing {

struct VmfSolution {
  std::vector<double> logits;  // [A, C]
  std::vector<double> slope;   // [A, C]
};

inline double log_bessel(double nu, double x) {
  return x == 0 ? -nu * std::log(2.0) - std::lgamma(nu + 1)
                : std::log(std::cyl_bessel_i(nu, x)) - nu * std::log(x);
}

template <typename T>
VmfSolution solve_vmf(const std::vector<T>& features, const std::vector<T>& mean_direction,
                      const std::vector<T>& concentration, int64_t dim, double temperature) {
  const double nu = static_cast<double>(dim) / 2 - 1;
  VmfSolution solution;
  for (size_t i = 0; i < features.size() / dim; ++i) {
    for (size_t c = 0; c < concentration.size(); ++c) {
      double square = 0;
      double length = 0;
      for (int64_t d = 0; d < dim; ++d) {
        const double mu = mean_direction[c * dim + d];
        const double z = features[i * dim + d] / temperature;
        length += mu * mu;
        square += (concentration[c] * mu + z) * (concentration[c] * mu + z);
      }
      const double kappa = length == 0 ? 0 : concentration[c];
      const double x = std::sqrt(square);
      solution.logits.push_back(log_bessel(nu, x) - log_bessel(nu, kappa));
      solution.slope.push_back(std::exp(log_bessel(nu + 1, x) - log_bessel(nu, x)) / temperature);
    }
  }
  return solution;
}

}  // namespace paco::testing
