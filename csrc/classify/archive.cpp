#include "archive.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>

#include "error.h"

namespace paco::classify {
namespace {

constexpr uint64_t kMegabyte = 1 << 20;
constexpr uint64_t kLargestText = 16 * kMegabyte;
// Weights are stored as they are; what PyTorch packs, the code and its record, is small.
constexpr uint64_t kLargestGain = 256 * kMegabyte;

/// Bytes of a file, and the numbers in them, the least significant byte first.
struct Bytes {
  std::string text;

  uint64_t number(size_t at, size_t size) const {
    if (at + size > text.size()) {
      throw Error("its zip archive is damaged");
    }
    uint64_t result = 0;
    for (size_t i = size; i-- > 0;) {
      result = result << 8 | static_cast<unsigned char>(text[at + i]);
    }
    return result;
  }
};

Bytes read(const std::string& path, uint64_t at, uint64_t size) {
  const uint64_t file_size = std::filesystem::file_size(path);
  if (size > file_size || at > file_size - size) {
    throw Error("it is no zip archive, or cut off");
  }
  Bytes bytes{std::string(size, '\0')};
  std::ifstream file(path, std::ios::binary);
  if (!file.seekg(static_cast<std::streamoff>(at)) ||
      !file.read(bytes.text.data(), static_cast<std::streamsize>(size))) {
    throw Error("it cannot be read");
  }
  return bytes;
}

/// The list of an archive's files, at its end.
Bytes directory(const std::string& path, uint64_t file_size) {
  constexpr uint64_t kEnd = 22;
  constexpr uint64_t kLocator = 20;
  uint64_t end_at = file_size - kEnd;  // beyond the file, if that is smaller
  const Bytes end = read(path, end_at, kEnd);
  if (end.number(0, 4) != 0x06054b50) {
    throw Error("it is no zip archive, or cut off");
  }
  uint64_t size = end.number(12, 4);
  uint64_t at = end.number(16, 4);
  if (end_at >= kLocator) {
    const Bytes locator = read(path, end_at - kLocator, kLocator);
    if (locator.number(0, 4) == 0x07064b50) {  // numbers of 64 bits are elsewhere
      end_at = locator.number(8, 8);
      const Bytes end64 = read(path, end_at, 56);
      size = end64.number(40, 8);
      at = end64.number(48, 8);
    }
  }
  // Another place would leave it to the reader which list counts.
  if (at > file_size || size != end_at - at) {
    throw Error("its zip archive is damaged");
  }
  return read(path, at, size);
}

// Where an entry has its numbers of 32 bits; those of 64 bits follow each other in this order.
constexpr size_t kUnpackedSize = 24;
constexpr size_t kPackedSize = 20;
constexpr size_t kOffset = 42;

uint64_t number_of(const Bytes& files, size_t entry, size_t which, size_t extra, size_t extra_end) {
  constexpr uint64_t kElsewhere = 0xffffffff;  // 64 bits do not fit the entry
  const uint64_t number = files.number(entry + which, 4);
  size_t before = 0;
  for (const size_t other : {kUnpackedSize, kPackedSize}) {
    if (other == which) {
      break;
    }
    before += files.number(entry + other, 4) == kElsewhere ? 8 : 0;
  }
  while (number == kElsewhere && extra + 4 <= extra_end) {
    if (files.number(extra, 2) == 1) {
      return files.number(extra + 4 + before, 8);
    }
    extra += 4 + files.number(extra + 2, 2);
  }
  return number;
}

constexpr std::array<uint32_t, 256> kRemainders = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    table[i] = i;
    for (int bit = 0; bit < 8; ++bit) {
      table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320 : 0);
    }
  }
  return table;
}();

/// The CRC-32 of a part of a file.
uint32_t checksum(const std::string& path, uint64_t at, uint64_t size) {
  uint32_t sum = 0xffffffff;
  while (size > 0) {
    const Bytes bytes = read(path, at, std::min(size, kMegabyte));
    for (const char byte : bytes.text) {
      sum = sum >> 8 ^ kRemainders[(sum ^ static_cast<unsigned char>(byte)) & 0xff];
    }
    at += bytes.text.size();
    size -= bytes.text.size();
  }
  return ~sum;
}

/// Whether a record is what was written. PyTorch does not look; what is packed is code, and small.
bool is_sound(const std::string& path, const Bytes& files, size_t entry, uint64_t at,
              uint64_t size) {
  if (files.number(entry + 10, 2) != 0) {
    return true;
  }
  const Bytes start = read(path, at, 30);
  at += 30 + start.number(26, 2) + start.number(28, 2);
  return checksum(path, at, size) == files.number(entry + 16, 4);
}

std::string megabytes(uint64_t bytes) { return std::to_string(bytes / kMegabyte) + " MB"; }

}  // namespace

void check_archive(const std::string& path) {
  const uint64_t file_size = std::filesystem::file_size(path);
  const Bytes files = directory(path, file_size);
  uint64_t total = 0;
  for (size_t entry = 0; entry < files.text.size();) {
    const size_t name_end = entry + 46 + files.number(entry + 28, 2);
    const size_t extra_end = name_end + files.number(entry + 30, 2);
    const size_t next = extra_end + files.number(entry + 32, 2);
    if (files.number(entry, 4) != 0x02014b50 || next > files.text.size()) {
      throw Error("its zip archive is damaged");
    }
    const std::string name = files.text.substr(entry + 46, name_end - entry - 46);
    const uint64_t size = number_of(files, entry, kUnpackedSize, name_end, extra_end);
    const bool is_text = name.find("/extra/") != std::string::npos || name.ends_with(".json");
    if (is_text && size > kLargestText) {
      throw Error("its text " + name + " unpacks to " + megabytes(size) + ", and " +
                  megabytes(kLargestText) + " is the limit");
    }
    total += size;
    if (size > file_size + kLargestGain || total > file_size + kLargestGain) {
      throw Error("its " + megabytes(file_size) + " unpack to " + megabytes(total) +
                  " and more, which no export does");
    }
    const uint64_t at = number_of(files, entry, kOffset, name_end, extra_end);
    if (!is_sound(path, files, entry, at, size)) {
      throw Error(name + " in it is not what was written");
    }
    entry = next;
  }
}

}  // namespace paco::classify
