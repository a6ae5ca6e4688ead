/// \file
/// Comparing a file with what it was. Internal to convert/io.
#pragma once

#include <sys/stat.h>

#include <string>

#include "convert/io/local_file.h"

namespace weightfs {

FileIdentity IdentityOf(const struct stat& attributes);

/// True when `now` is the same content as `was` by the rules of `FileIdentity`. Never allocates.
bool IsSameContent(const FileIdentity& was, const FileIdentity& now);

/// What changed, in a few words; call it when `IsSameContent` is false.
std::string DescribeChange(const FileIdentity& was, const FileIdentity& now);

}  // namespace weightfs
