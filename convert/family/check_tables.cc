// Loads the tables that are built in; part of every build, so that none is shipped that does not load.
#include <cstdio>

#include "convert/family/family.h"

int main() {
  const auto registry = weightfs::FamilyRegistry::BuiltIn();
  if (registry) return 0;
  std::fprintf(stderr, "%s\n", registry.error().message.c_str());
  if (!registry.error().remedy.empty()) std::fprintf(stderr, "%s\n", registry.error().remedy.c_str());
  return 1;
}
