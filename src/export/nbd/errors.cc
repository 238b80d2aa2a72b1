#include "export/nbd/errors.h"

#include <cerrno>

#include "qcowkit/error.h"

namespace qcowkit::nbd {

namespace {

WireError of_ours(Errc code) noexcept {
  switch (code) {
    case Errc::read_only:
      return WireError::perm;
    case Errc::invalid_argument:
      return WireError::inval;
    case Errc::not_an_image:
    case Errc::corrupt:
    case Errc::unsupported:
    case Errc::in_use:
    case Errc::reference_refused:
    case Errc::limit_exceeded:
    case Errc::cancelled:
      return WireError::io;
  }
  return WireError::io;
}

}  // namespace

WireError wire_error(const std::error_code& code) noexcept {
  if (code.category() == error_category()) return of_ours(static_cast<Errc>(code.value()));
  const std::error_condition condition = code.default_error_condition();
  if (condition.category() != std::generic_category()) return WireError::io;
  switch (condition.value()) {
    case EPERM:
    case EACCES:
    case EROFS:
      return WireError::perm;
    case ENOMEM:
      return WireError::nomem;
    case EINVAL:
      return WireError::inval;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return WireError::nospc;
    // Not ENOTSUP: a client takes that for the answer to a fast request for zeroes.
    default:
      return WireError::io;
  }
}

const char* describe(WireError error) noexcept {
  switch (error) {
    case WireError::none:
      return "no error";
    case WireError::perm:
      return "not permitted";
    case WireError::io:
      return "input/output error";
    case WireError::nomem:
      return "out of memory";
    case WireError::inval:
      return "invalid request";
    case WireError::nospc:
      return "no space left";
    case WireError::overflow:
      return "request is too large";
    case WireError::notsup:
      return "not supported";
    case WireError::shutdown:
      return "server is shutting down";
  }
  return "unknown error";
}

}  // namespace qcowkit::nbd
