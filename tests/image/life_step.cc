#include "tests/image/life_step.h"

#include <fmt/core.h>

#include <array>

namespace qcowkit::test {

namespace {

struct KindOfStep {
  const char* name;
  int weight;
};

/// In the order of the kinds.
constexpr std::array kKinds = {
    KindOfStep{"write", 30},
    KindOfStep{"write_zeroes", 14},
    KindOfStep{"discard", 8},
    KindOfStep{"write_compressed", 10},
    KindOfStep{"create_snapshot", 9},
    KindOfStep{"apply_snapshot", 6},
    KindOfStep{"delete_snapshot", 5},
    KindOfStep{"write_vm_state", 5},
    KindOfStep{"grow", 6},
    KindOfStep{"shrink", 5},
    KindOfStep{"make_empty", 1},
    KindOfStep{"amend_version", 4},
    KindOfStep{"amend_refcount_bits", 3},
    KindOfStep{"amend_lazy_refcounts", 3},
    KindOfStep{"amend_backing_name", 2},
    KindOfStep{"turn_read_only_and_back", 2},
    KindOfStep{"invalidate", 2},
    KindOfStep{"close_and_open", 3},
    KindOfStep{"flush", 4},
    KindOfStep{"examine", 5},
};
static_assert(kKinds.size() == static_cast<std::size_t>(LifeKind::examine) + 1);

}  // namespace

std::string describe(const LifeStep& step) {
  return fmt::format("{} place {} length {} choice {} #{}",
                     kKinds.at(static_cast<std::size_t>(step.kind)).name, step.place, step.length,
                     step.choice, step.content);
}

std::string describe(const std::vector<LifeStep>& steps) {
  std::string text;
  for (const LifeStep& step : steps) text += "  " + describe(step) + "\n";
  return text;
}

std::vector<LifeStep> draw_life(std::mt19937_64& random, std::size_t count) {
  std::vector<int> weights;
  for (const KindOfStep& kind : kKinds) weights.push_back(kind.weight);
  std::discrete_distribution<int> kinds(weights.begin(), weights.end());
  std::vector<LifeStep> steps(count);
  for (LifeStep& step : steps) {
    step.kind = static_cast<LifeKind>(kinds(random));
    step.place = random() >> 16;
    step.length = random() >> 16;
    step.choice = random() % 1000;
    step.content = random() % 1000;
  }
  return steps;
}

}  // namespace qcowkit::test
