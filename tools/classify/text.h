#pragma once

#include <string>

namespace paco::classify {

/// A text for the terminal: a question mark stands for each control character, which a terminal
/// would obey, and for each byte that is not UTF-8. Class names and paths come from strangers.
std::string printable(const std::string& text);

/// A text as a JSON string in ASCII. A byte that is not UTF-8 becomes the escape \udcXX of its
/// value XX, which is how Python has such file names: os.fsencode gives the bytes back.
std::string json_string(const std::string& text);

/// Writes a line to the standard error. It may quote damaged files: only what is printable gets
/// out.
void report(const std::string& sentence);

}  // namespace paco::classify
