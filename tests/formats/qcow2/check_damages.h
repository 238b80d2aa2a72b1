// Every way to damage an image that a check knows of.
#pragma once

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "tests/formats/qcow2/check_fixture.h"

namespace qcowkit::qcow2::test {

/// What a check counts.
struct Verdict {
  std::uint64_t corruptions = 0;
  std::uint64_t leaks = 0;
  std::uint64_t check_errors = 0;

  friend bool operator==(const Verdict&, const Verdict&) = default;
};

inline Verdict verdict_of(const CheckReport& report) {
  return {report.corruptions, report.leaks, report.check_errors};
}

struct Damage {
  std::string name;
  std::function<SmallImage()> make;
  std::string message;    ///< part of a line that the check writes
  Verdict found;          ///< without repair
  Verdict left_by_leaks;  ///< after repair of leaks
  Verdict left_by_all;    ///< after repair of everything
  /// The reference (version 7.2) counts the same. It does not where it takes the header for a
  /// table, reads a damaged snapshot table as zeroes, or refuses to open the image at all.
  bool reference_agrees = true;
};

inline std::ostream& operator<<(std::ostream& to, const Verdict& v) {
  return to << v.corruptions << " corruptions, " << v.leaks << " leaks, " << v.check_errors
            << " check errors";
}
inline std::ostream& operator<<(std::ostream& to, const Damage& damage) {
  return to << damage.name;
}

/// The table of all damages.
const std::vector<Damage>& damages();

/// A sound image with a bit of everything that the shape allows.
SmallImage rich_image(const ImageShape& shape = {});

}  // namespace qcowkit::qcow2::test
