// --object throttle-group: limits that several nodes keep to together.
#include "cli/throttle_object.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include <string>
#include <vector>

#include "cli/failure.h"

namespace qcowkit::cli {

namespace {

struct LimitName {
  std::string_view name;
  ThrottleLimit ThrottleLimits::*limit;
};
constexpr std::array kLimits = {
    LimitName{"bps-read", &ThrottleLimits::bps_read},
    LimitName{"bps-total", &ThrottleLimits::bps_total},
    LimitName{"bps-write", &ThrottleLimits::bps_write},
    LimitName{"iops-read", &ThrottleLimits::iops_read},
    LimitName{"iops-total", &ThrottleLimits::iops_total},
    LimitName{"iops-write", &ThrottleLimits::iops_write},
};

struct PartName {
  std::string_view suffix;
  std::uint64_t ThrottleLimit::*part;
};
constexpr std::array kParts = {PartName{"", &ThrottleLimit::average},
                               PartName{"-max", &ThrottleLimit::maximum},
                               PartName{"-max-length", &ThrottleLimit::burst_seconds}};
constexpr std::string_view kSizeName = "iops-size";

/// How a property may be called: the second way is older.
constexpr std::array<std::string_view, 2> kPrefixes = {"limits.", "x-"};

/// "bps-read", "bps-read-max" and so on, each with every prefix.
class Names {
 public:
  Names() {
    for (const LimitName& limit : kLimits) {
      for (const PartName& part : kParts) add(fmt::format("{}{}", limit.name, part.suffix));
    }
    add(std::string(kSizeName));
    std::ranges::sort(help_);
    help_.insert(help_.begin(), "limits=<ThrottleLimits>");
    for (const std::string& name : names_) {
      properties_.push_back({name, ObjectProperty::Kind::integer});
    }
    for (const std::string& line : help_) help_lines_.emplace_back(line);
  }
  Names(const Names&) = delete;
  Names& operator=(const Names&) = delete;

  std::span<const ObjectProperty> properties() const noexcept { return properties_; }
  std::span<const std::string_view> help() const noexcept { return help_lines_; }

 private:
  void add(const std::string& name) {
    for (const std::string_view prefix : kPrefixes)
      names_.push_back(fmt::format("{}{}", prefix, name));
    help_.push_back(fmt::format("x-{}=<int>", name));
  }

  std::vector<std::string> names_;
  std::vector<std::string> help_;
  std::vector<ObjectProperty> properties_;
  std::vector<std::string_view> help_lines_;
};

}  // namespace

const ObjectType& throttle_group_type() {
  static const Names names;
  static const ObjectType type{"throttle-group", names.properties(), names.help()};
  return type;
}

std::shared_ptr<ThrottleGroup> make_throttle_group(const ObjectDefinition& definition) {
  ThrottleLimits limits;
  const auto read = [&](const std::string& name, std::uint64_t& number) {
    for (const std::string_view prefix : kPrefixes) {
      if (const auto value = definition.integer(fmt::format("{}{}", prefix, name))) {
        number = static_cast<std::uint64_t>(*value);
      }
    }
  };
  for (const LimitName& limit : kLimits) {
    for (const PartName& part : kParts) {
      read(fmt::format("{}{}", limit.name, part.suffix), limits.*limit.limit.*part.part);
    }
  }
  read(std::string(kSizeName), limits.iops_size_bytes);
  return std::make_shared<ThrottleGroup>(definition.id(), limits);
}

}  // namespace qcowkit::cli
