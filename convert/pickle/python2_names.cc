#include "convert/pickle/python2_names.h"

#include <algorithm>

namespace weightfs::pickle {
namespace {

struct ModuleMapping {
  std::string_view python2, python3;
};

struct NameMapping {
  std::string_view module2, name2, module3, name3;
};

// Names win over modules.
constexpr NameMapping kNames[] = {
    {"__builtin__", "xrange", "builtins", "range"},
    {"__builtin__", "reduce", "functools", "reduce"},
    {"__builtin__", "intern", "sys", "intern"},
    {"__builtin__", "unichr", "builtins", "chr"},
    {"__builtin__", "unicode", "builtins", "str"},
    {"__builtin__", "basestring", "builtins", "str"},
    {"__builtin__", "long", "builtins", "int"},
    {"itertools", "izip", "builtins", "zip"},
    {"itertools", "imap", "builtins", "map"},
    {"itertools", "ifilter", "builtins", "filter"},
    {"itertools", "ifilterfalse", "itertools", "filterfalse"},
    {"itertools", "izip_longest", "itertools", "zip_longest"},
    {"UserDict", "IterableUserDict", "collections", "UserDict"},
    {"UserDict", "UserDict", "collections", "UserDict"},
    {"UserList", "UserList", "collections", "UserList"},
    {"UserString", "UserString", "collections", "UserString"},
    {"socket", "fromfd", "socket", "fromfd"},
};

constexpr ModuleMapping kModules[] = {
    {"__builtin__", "builtins"},
    {"exceptions", "builtins"},
    {"copy_reg", "copyreg"},
    {"cPickle", "pickle"},
    {"cStringIO", "io"},
    {"StringIO", "io"},
    {"Queue", "queue"},
    {"ConfigParser", "configparser"},
    {"SocketServer", "socketserver"},
    {"repr", "reprlib"},
    {"thread", "_thread"},
    {"dummy_thread", "_dummy_thread"},
    {"commands", "subprocess"},
    {"UserDict", "collections"},
    {"UserList", "collections"},
    {"UserString", "collections"},
    {"urllib2", "urllib.request"},
    {"urlparse", "urllib.parse"},
    {"_abcoll", "collections.abc"},
    {"whichdb", "dbm"},
    {"anydbm", "dbm"},
};

}  // namespace

std::pair<std::string_view, std::string_view> MapPython2Name(std::string_view module, std::string_view name) {
  for (const NameMapping& mapping : kNames)
    if (mapping.module2 == module && mapping.name2 == name) return {mapping.module3, mapping.name3};
  for (const ModuleMapping& mapping : kModules)
    if (mapping.python2 == module) return {mapping.python3, name};
  return {module, name};
}

}  // namespace weightfs::pickle
