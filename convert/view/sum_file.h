/// \file
/// Views whose elements are added up, as a file of packed elements.
#pragma once

#include <memory>

#include "convert/base/result.h"
#include "convert/io/block_cache.h"
#include "convert/io/random_access_file.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// The packed stored elements of `view`, whose terms are several, made block by block in `cache`. Immutable;
/// thread-safe; keeps the storages of the terms alive.
/// \error as MakeViewFile
Result<FilePtr> MakeSumFile(const TensorView& view, std::shared_ptr<BlockCache> cache);

}  // namespace weightfs
