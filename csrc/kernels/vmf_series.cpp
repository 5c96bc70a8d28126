#include "vmf_series.h"

#include <array>
#include <cmath>
#include <vector>

namespace paco {
namespace {

constexpr double kPi = 3.14159265358979323846;
// Debye's expansion in 1 / nu, with all of these terms, is exact to double from this order on.
// Smaller orders are reached from there by recurrence.
constexpr int kDebyeTerms = 10;
constexpr double kDebyeOrder = 30;
// Keeps the poles of Q, which are those of log I_nu on the imaginary axis, off [0, 1] for small nu.
constexpr double kOffset = 3;

// The polynomials u_k of Debye's expansion (DLMF 10.41.10) by powers of t.
class DebyePolynomials {
 public:
  DebyePolynomials() {
    u_[0] = {1};
    for (int k = 0; k < kDebyeTerms; ++k) {
      // u_{k+1} = t^2 (1 - t^2) u_k' / 2 + integral of (1 - 5 t^2) u_k / 8 from 0 to t
      u_[k + 1].resize(u_[k].size() + 3);
      for (size_t n = 0; n < u_[k].size(); ++n) {
        const auto power = static_cast<double>(n);
        u_[k + 1][n + 1] += u_[k][n] * (power / 2 + 1 / (8 * (power + 1)));
        u_[k + 1][n + 3] -= u_[k][n] * (power / 2 + 5 / (8 * (power + 3)));
      }
    }
  }

  struct Sum {
    double value;       // U = sum_k u_k(t) / order^k
    double derivative;  // dU / dt
  };

  Sum operator()(double order, double t) const {
    Sum sum{0, 0};
    for (int k = kDebyeTerms; k >= 0; --k) {
      double value = 0;
      double derivative = 0;
      for (size_t n = u_[k].size(); n-- > 0;) {
        derivative = derivative * t + value;
        value = value * t + u_[k][n];
      }
      sum = {sum.value / order + value, sum.derivative / order + derivative};
    }
    return sum;
  }

 private:
  std::array<std::vector<double>, kDebyeTerms + 1> u_;
};

struct Point {
  double value;  // Q
  double slope;  // H
};

Point point(double nu, double offset, double t) {
  static const DebyePolynomials debye;
  const double w = offset / t;
  const double x2 = std::fmax(w * w - offset * offset, 0);
  const double steps = std::ceil(std::fmax(kDebyeOrder - nu, 0));
  const double order = nu + steps;
  const double v = std::sqrt(order * order + x2);
  const auto [sum, derivative] = debye(order, order / v);

  // f_n(x) = I_n(x) / x^n and ratio = f_{n+1} / f_n = (log f_n)' / x, with dv / dx = x / v.
  double ratio = (v / (order + v) - 1 / (2 * v) - order / (v * v) * derivative / sum) / v;
  // f_{n-1} = f_n (2n + x^2 f_{n+1} / f_n): both terms are positive, nothing cancels.
  double product = 1;
  for (int k = 0; k < static_cast<int>(steps); ++k) {
    const double factor = 2 * (order - k) + x2 * ratio;
    product *= factor;
    ratio = 1 / factor;
  }
  // v - w without what they have in common.
  const double value = (order * order - offset * offset) / (v + w) - order * std::log(order + v) -
                       std::log(v) / 2 + std::log(sum) + std::log(product) +
                       (nu + 0.5) * std::log(offset + w);
  return {value, w * ratio};
}

// Powers of u = cos(theta) from values at Chebyshev's nodes theta_k = (k + 1/2) pi / n.
std::vector<double> fit(const std::vector<double>& values) {
  const size_t n = values.size();
  std::vector<double> powers(n);
  std::vector<double> chebyshev{1};  // T_j by powers, and T_{j-1}
  std::vector<double> previous;
  for (size_t j = 0; j < n; ++j) {
    double coefficient = 0;
    for (size_t k = 0; k < n; ++k) {
      // The whole turn is taken off in integers, so that the angle is exact.
      const auto angle = static_cast<double>(j * (2 * k + 1) % (4 * n));
      coefficient += values[k] * std::cos(angle * kPi / static_cast<double>(2 * n));
    }
    coefficient *= (j == 0 ? 1.0 : 2.0) / static_cast<double>(n);
    for (size_t p = 0; p < chebyshev.size(); ++p) powers[p] += coefficient * chebyshev[p];
    std::vector<double> next(j + 2);  // 2 u T_j - T_{j-1}, and T_1 = u
    for (size_t p = 0; p <= j; ++p) next[p + 1] = (j == 0 ? 1 : 2) * chebyshev[p];
    for (size_t p = 0; p < previous.size(); ++p) next[p] -= previous[p];
    previous = std::move(chebyshev);
    chebyshev = std::move(next);
  }
  return powers;
}

}  // namespace

template <typename T>
VmfSeries<T> vmf_series(int64_t dim) {
  constexpr int kTerms = kVmfTerms<T>;
  const double nu = static_cast<double>(dim) / 2 - 1;
  const double offset = nu + kOffset;
  std::vector<double> values(kTerms);
  std::vector<double> slopes(kTerms);
  for (int k = 0; k < kTerms; ++k) {
    const double t = (1 + std::cos((k + 0.5) * kPi / kTerms)) / 2;
    const Point at = point(nu, offset, t);
    values[k] = at.value;
    slopes[k] = at.slope;
  }
  // The constant is nobody's business; without it Q is small.
  for (double& value : values) value -= values[kTerms - 1];
  VmfSeries<T> series{static_cast<T>(offset), static_cast<T>(nu + 0.5), {}, {}};
  const std::vector<double> value_powers = fit(values);
  const std::vector<double> slope_powers = fit(slopes);
  for (int k = 0; k < kTerms; ++k) {
    series.value[k] = static_cast<T>(value_powers[k]);
    series.slope[k] = static_cast<T>(slope_powers[k]);
  }
  return series;
}

template VmfSeries<float> vmf_series(int64_t dim);
template VmfSeries<double> vmf_series(int64_t dim);

}  // namespace paco
