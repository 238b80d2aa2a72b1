// What decoding a header is expected to say.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "qcowkit/error.h"
#include "tests/formats/qcow2/header_fixture.h"

namespace qcowkit::test {

/// What is wrong with a header, and how the refusal reads.
struct Refusal {
  Errc code;
  std::string message;
};

/// How `Header::decode` refuses the bytes; nothing if it takes them.
std::optional<Refusal> refusal_of(std::span<const std::byte> bytes, bool for_check = false);

void expect_accepted(const HeaderBytes& header);
void expect_refused(const HeaderBytes& header, Errc code, const std::string& part_of_message);
/// Refused as `Errc::corrupt`.
void expect_corrupt(const HeaderBytes& header, const std::string& part_of_message);

}  // namespace qcowkit::test
