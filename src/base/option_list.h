// Lists like "size=1G,backing_file=a,,b": what -o, --image-opts and --object take.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace qcowkit {

struct KeyValue {
  std::string key;
  std::string value;
  bool is_short = false;  ///< was a word without '='
};

/// Splits `list` at its commas; a doubled comma is a comma in a value. A word without '=' is
/// switched on ("lazy_refcounts" is "lazy_refcounts=on"), one that starts with "no" off. If
/// `first_key` is not empty, a first word without '=' is its value ("secret,id=a").
std::vector<KeyValue> parse_key_values(std::string_view list, std::string_view first_key = {});

/// True if the list asks for help: "help" or "?" is one of its words.
bool asks_for_help(std::string_view list);

/// True if the list can be joined with others: it neither is empty nor starts or ends with a comma
/// that separates.
bool is_joinable(std::string_view list);

/// `value` as it has to be written in a list: with its commas doubled.
std::string escape_commas(std::string_view value);

/// `text` as a number: decimal, hexadecimal behind "0x", octal behind "0". Blanks and a sign may
/// stand before it; below zero, numbers wrap round. Nothing for what is none, and then, if
/// `is_too_large` is given, whether it is one of more than 64 bits.
std::optional<std::uint64_t> parse_number(std::string_view text, bool* is_too_large = nullptr);

/// "on" and its like; nothing for what is neither on nor off.
std::optional<bool> parse_boolean(std::string_view text);

}  // namespace qcowkit
