// Arithmetic on values that were read from an image: the overflow is an answer, not an accident.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace qcowkit {

template <std::unsigned_integral T>
constexpr std::optional<T> checked_add(T a, T b) noexcept {
  T sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

template <std::unsigned_integral T>
constexpr std::optional<T> checked_multiply(T a, T b) noexcept {
  T product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

template <std::unsigned_integral T>
constexpr T divide_round_up(T a, T b) noexcept {
  return a / b + (a % b != 0);
}

constexpr std::uint64_t align_down(std::uint64_t v, std::uint64_t power_of_two) noexcept {
  return v & ~(power_of_two - 1);
}

/// Wraps around where the result does not fit; guard values from an image with `checked_add`.
constexpr std::uint64_t align_up(std::uint64_t v, std::uint64_t power_of_two) noexcept {
  return (v + power_of_two - 1) & ~(power_of_two - 1);
}

constexpr bool is_aligned(std::uint64_t v, std::uint64_t power_of_two) noexcept {
  return (v & (power_of_two - 1)) == 0;
}

}  // namespace qcowkit
