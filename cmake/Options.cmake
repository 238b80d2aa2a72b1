# How every target of the project is compiled and linked.
add_library(qcowkit_options INTERFACE)
target_compile_options(qcowkit_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow
  -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual -Wunused -Woverloaded-virtual -Wdouble-promotion
  # Position-independent code may be inlined all the same: nobody replaces our functions.
  -fno-semantic-interposition
  # So that the linker can leave out what a program does not use.
  -ffunction-sections -fdata-sections)
if(QCOWKIT_WERROR)
  target_compile_options(qcowkit_options INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(qcowkit_options INTERFACE -Wthread-safety)
endif()
# GCC sees uninitialised values in the standard library's regular expressions where sanitizers are at work.
if(QCOWKIT_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(qcowkit_options INTERFACE -Wno-maybe-uninitialized)
endif()
if(QCOWKIT_SANITIZE)
  target_compile_options(qcowkit_options INTERFACE -fsanitize=${QCOWKIT_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(qcowkit_options INTERFACE -fsanitize=${QCOWKIT_SANITIZE})
endif()
# Every file tells the fuzzer which way it went.
if(QCOWKIT_FUZZER)
  target_compile_options(qcowkit_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Sanitized builds read the headers that most sources include once for all of them. The plain build does
# not: there each source must itself include what it uses.
set(QCOWKIT_COMMON_HEADERS <fmt/core.h> <algorithm> <array> <atomic> <cerrno> <cstdint> <cstring>
  <functional> <limits> <memory> <optional> <span> <string> <string_view> <system_error> <utility>
  <vector>)
