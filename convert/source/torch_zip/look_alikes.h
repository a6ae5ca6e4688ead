/// \file
/// Zip archives that are not torch.save files.
#pragma once

#include "convert/base/result.h"
#include "convert/source/torch_zip/zip_directory.h"

namespace weightfs {

/// Refuses archives that hold something else than a torch.save file, by the names of their members.
/// \param root  the folder that torch takes for the archive's root, without '/'
/// \error kUnsupported  names what the archive is; the remedy says what to do
Status RefuseLookAlikes(const ZipDirectory& directory, std::string_view root, std::string_view file);

}  // namespace weightfs
