#include "export/nbd/meta_context.h"

#include <gtest/gtest.h>

namespace qcowkit::nbd {
namespace {

class MetaContexts : public testing::Test {
 protected:
  MetaContexts() {
    NbdExport disk;
    disk.allocation_depth = true;
    disk.bitmaps = {"b0", "b1"};
    offered_ = contexts_of(disk);
  }
  using Names = std::vector<std::string>;
  static Names names(const std::vector<MetaContext>& contexts) {
    Names found;
    for (const MetaContext& context : contexts) found.push_back(context.name);
    return found;
  }
  Names listed(const Names& queries) { return names(list_contexts(offered_, queries)); }
  Names selected(const Names& queries) { return names(select_contexts(offered_, queries)); }

  std::vector<MetaContext> offered_;
  const Names all_ = {"base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0",
                      "qemu:dirty-bitmap:b1"};
};

TEST_F(MetaContexts, AreWhatTheExportSays) {
  EXPECT_EQ(names(offered_), all_);
  EXPECT_EQ(names(contexts_of(NbdExport{})), Names{"base:allocation"});
  for (std::size_t i = 0; i < offered_.size(); ++i) EXPECT_EQ(offered_[i].id, i);
}

TEST_F(MetaContexts, ListWithoutQueriesHasAll) { EXPECT_EQ(listed({}), all_); }

TEST_F(MetaContexts, ListTakesNamesAndWildcards) {
  EXPECT_EQ(listed({"base:"}), Names{"base:allocation"});
  EXPECT_EQ(listed({"qemu:"}), Names(all_.begin() + 1, all_.end()));
  EXPECT_EQ(listed({"qemu:dirty-bitmap:"}), Names(all_.begin() + 2, all_.end()));
  EXPECT_EQ(listed({"qemu:dirty-bitmap:b1"}), Names{"qemu:dirty-bitmap:b1"});
  EXPECT_EQ(listed({"qemu:", "base:", "qemu:dirty-bitmap:b1"}), all_);
}

TEST_F(MetaContexts, QueriesThatMeanNothingFindNothing) {
  const Names strange = {
      "",           "base",       "base:alloc",           "qemu:dirty-bitmap:b",
      "x-other:",   "qemu:alloc", "base:allocation-more", "qemu:dirty-bitmap:b0 ",
      "allocation", ":",          "BASE:allocation"};
  EXPECT_EQ(listed(strange), Names{});
  EXPECT_EQ(selected(strange), Names{});
}

TEST_F(MetaContexts, SelectTakesNamesOnly) {
  EXPECT_EQ(selected({"base:", "qemu:", "qemu:dirty-bitmap:"}), Names{});
  EXPECT_EQ(selected({}), Names{});
  EXPECT_EQ(selected({"qemu:dirty-bitmap:b0", "base:allocation", "base:allocation"}),
            (Names{"base:allocation", "qemu:dirty-bitmap:b0"}));
}

}  // namespace
}  // namespace qcowkit::nbd
