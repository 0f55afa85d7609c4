# Joins the chat page's sources into one HTML text and writes it as a C++ array. Run at build time:
#   cmake -DSOURCE=src/server/page -DLIBRARIES=marked.js;purify.js -DOUTPUT=chat_page_text.cpp -P embed_page.cmake
set(script "")
foreach(library IN LISTS LIBRARIES)
  file(READ "${library}" text)
  string(APPEND script "${text}\n;\n")
endforeach()
string(APPEND script "(() => {\n\"use strict\";\n")
foreach(part store markdown api message generate main)
  file(READ "${SOURCE}/${part}.js" text)
  string(APPEND script "${text}\n")
endforeach()
string(APPEND script "})();\n")
# Within a script element "<!--" changes how the element ends; in strings and regular expressions "\\!" is the same character.
string(REPLACE "<!--" "<\\!--" script "${script}")
string(FIND "${script}" "</script" at)
if(at GREATER_EQUAL 0)
  message(FATAL_ERROR "embed_page: a source holds </script, which would end the page's script")
endif()
file(READ "${SOURCE}/page.css" style)
file(READ "${SOURCE}/page.html" page)
string(REPLACE "/*STYLE*/" "${style}" page "${page}")
string(REPLACE "/*SCRIPT*/" "${script}" page "${page}")

get_filename_component(folder "${OUTPUT}" DIRECTORY)
file(MAKE_DIRECTORY "${folder}")
file(WRITE "${OUTPUT}.html" "${page}")
file(READ "${OUTPUT}.html" hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE "${OUTPUT}" "// Written by cmake/embed_page.cmake.
#include <string_view>

namespace quern {
std::string_view chat_page_text();

namespace {
constexpr unsigned char kText[] = {
${bytes}
};
}  // namespace

std::string_view chat_page_text() { return {reinterpret_cast<const char*>(kText), sizeof(kText)}; }
}  // namespace quern
")
