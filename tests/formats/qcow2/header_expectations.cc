#include "tests/formats/qcow2/header_expectations.h"

#include <gtest/gtest.h>

namespace qcowkit::test {

std::optional<Refusal> refusal_of(std::span<const std::byte> bytes, bool for_check) {
  try {
    qcow2::Header::decode(bytes, for_check);
    return std::nullopt;
  } catch (const Error& e) {
    EXPECT_EQ(e.code().category(), error_category());
    return Refusal{static_cast<Errc>(e.code().value()), e.message()};
  }
}

void expect_accepted(const HeaderBytes& header) {
  const auto refusal = refusal_of(header.bytes());
  EXPECT_FALSE(refusal) << refusal->message;
}

void expect_refused(const HeaderBytes& header, Errc code, const std::string& part_of_message) {
  const auto refusal = refusal_of(header.bytes());
  ASSERT_TRUE(refusal) << "accepted, expected a message with: " << part_of_message;
  EXPECT_EQ(refusal->code, code) << refusal->message;
  EXPECT_NE(refusal->message.find(part_of_message), std::string::npos) << refusal->message;
  EXPECT_EQ(refusal->message.find("header"), 0u) << refusal->message;
}

void expect_corrupt(const HeaderBytes& header, const std::string& part_of_message) {
  expect_refused(header, Errc::corrupt, part_of_message);
}

}  // namespace qcowkit::test
