# Writes OUTPUT, a .cc with the texts of the family tables TABLES (separated by `|`): cmake -D OUTPUT=... -D TABLES=... -P
string(REPLACE "|" ";" tables "${TABLES}")
set(entries "")
foreach(table IN LISTS tables)
  get_filename_component(name "${table}" NAME)
  file(READ "${table}" hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX MATCHALL "........................................................................................................................|.+$"
    lines "${bytes}")
  list(JOIN lines "\n" bytes)
  string(MAKE_C_IDENTIFIER "k_${name}" identifier)
  string(APPEND entries "constexpr unsigned char ${identifier}[] = {\n${bytes}0};\n")
  string(APPEND list "      {\"${name}\", Text(${identifier}, sizeof ${identifier} - 1)},\n")
endforeach()
file(WRITE "${OUTPUT}.new" "// Written by EmbedTables.cmake.
#include \"convert/family/builtin_tables.h\"

namespace weightfs::family {
namespace {

${entries}
[[maybe_unused]] std::string_view Text(const unsigned char* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace

std::span<const TableText> BuiltInTables() {
  static const std::vector<TableText> tables = {
${list}  };
  return tables;
}

}  // namespace weightfs::family
")
file(COPY_FILE "${OUTPUT}.new" "${OUTPUT}" ONLY_IF_DIFFERENT)
