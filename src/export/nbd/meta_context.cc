#include "export/nbd/meta_context.h"

#include <algorithm>
#include <string_view>

#include "base/nbd_wire.h"

namespace qcowkit::nbd {

namespace {

bool is_wildcard(std::string_view query) noexcept {
  return query == "base:" || query == "qemu:" || query == kDirtyBitmapPrefix;
}

template <typename Matches>
std::vector<MetaContext> those(const std::vector<MetaContext>& offered, Matches matches) {
  std::vector<MetaContext> found;
  std::copy_if(offered.begin(), offered.end(), std::back_inserter(found), matches);
  return found;
}

}  // namespace

std::vector<MetaContext> contexts_of(const NbdExport& disk) {
  std::vector<MetaContext> contexts;
  const auto add = [&](MetaContext::Kind kind, std::string name, std::string bitmap = {}) {
    const auto id = static_cast<std::uint32_t>(contexts.size());
    contexts.push_back({id, kind, std::move(name), std::move(bitmap)});
  };
  add(MetaContext::Kind::allocation, kBaseAllocation);
  if (disk.allocation_depth) add(MetaContext::Kind::depth, kAllocationDepth);
  for (const std::string& bitmap : disk.bitmaps) {
    add(MetaContext::Kind::bitmap, kDirtyBitmapPrefix + bitmap, bitmap);
  }
  return contexts;
}

std::vector<MetaContext> list_contexts(const std::vector<MetaContext>& offered,
                                       std::span<const std::string> queries) {
  if (queries.empty()) return offered;
  return those(offered, [&](const MetaContext& context) {
    return std::any_of(queries.begin(), queries.end(), [&](const std::string& query) {
      return query == context.name || (is_wildcard(query) && context.name.starts_with(query));
    });
  });
}

std::vector<MetaContext> select_contexts(const std::vector<MetaContext>& offered,
                                         std::span<const std::string> queries) {
  return those(offered, [&](const MetaContext& context) {
    return std::find(queries.begin(), queries.end(), context.name) != queries.end();
  });
}

}  // namespace qcowkit::nbd
