// Every implementation of `Storage`, as the tests of what all of them promise take them.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "qcowkit/storage.h"
#include "tests/support/crash_storage.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::test {

/// One implementation, and what keeps it alive.
struct Subject {
  std::unique_ptr<TempDir> folder;
  std::unique_ptr<CrashDisk> disk;
  std::unique_ptr<Storage> storage;
};

/// Makes an empty storage that can be written. Throws `std::errc::invalid_argument` where the file
/// system cannot do what it takes.
struct SubjectMaker {
  std::string name;
  int random_steps;  ///< fewer where each write waits for the disk
  std::function<Subject()> make;
};

inline void PrintTo(const SubjectMaker& maker, std::ostream* out) { *out << maker.name; }

std::vector<SubjectMaker> subject_makers();

}  // namespace qcowkit::test
