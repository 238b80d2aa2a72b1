#include "crypto/random.h"

#include <sys/random.h>

#include <cerrno>

#include "qcowkit/error.h"

namespace qcowkit::crypto {

void fill_random(std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = getrandom(into.data(), into.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw os_error(errno, "getting random bytes");
    into = into.subspan(static_cast<std::size_t>(got));
  }
}

}  // namespace qcowkit::crypto
