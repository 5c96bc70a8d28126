#include "text.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>

namespace paco::classify {
namespace {

/// How many bytes the first character of a text has; 0 if it is not UTF-8.
size_t character_size(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned first = byte(0);
  const unsigned second = byte(1);
  if (first < 0x80) {
    return 1;
  }
  if (first < 0xc2 || first > 0xf4 || (first == 0xe0 && second < 0xa0) ||  // longer than need be
      (first == 0xed && second > 0x9f) ||                                  // half of a UTF-16 pair
      (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) {
    return 0;
  }
  const size_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      return 0;
    }
  }
  return size;
}

/// The code of a control character; -1 for any other character.
int control(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) {
    return first < 0x20 || first == 0x7f ? first : -1;
  }
  const auto second = static_cast<unsigned char>(character[1]);
  return first == 0xc2 && second < 0xa0 ? second : -1;
}

/// Visits each character with true, and each byte that is part of none with false.
template <typename Visit>
void for_each_character(std::string_view text, const Visit& visit) {
  while (!text.empty()) {
    const size_t size = character_size(text);
    const size_t step = size == 0 ? 1 : size;
    visit(text.substr(0, step), size != 0);
    text.remove_prefix(step);
  }
}

}  // namespace

std::string printable(const std::string& text) {
  std::string result;
  for_each_character(text, [&](std::string_view character, bool is_utf8) {
    result += is_utf8 && control(character) < 0 ? character : "?";
  });
  return result;
}

std::string json_string(const std::string& text) {
  std::string result;
  std::string part;  // in UTF-8
  const auto append_part = [&] {
    const std::string quoted = nlohmann::json(part).dump(-1, ' ', /*ensure_ascii=*/true);
    result.append(quoted, 1, quoted.size() - 2);
    part.clear();
  };
  for_each_character(text, [&](std::string_view character, bool is_utf8) {
    if (is_utf8) {
      part += character;
      return;
    }
    append_part();
    char escape[8];
    std::snprintf(escape, sizeof escape, "\\udc%02x",
                  static_cast<unsigned>(static_cast<unsigned char>(character[0])));
    result += escape;
  });
  append_part();
  return '"' + result + '"';
}

void report(const std::string& sentence) {
  std::fprintf(stderr, "paco-classify: %s\n", printable(sentence).c_str());
}

}  // namespace paco::classify
