/// \file
/// One tensor as an `.npy` file, for `numpy.load(mmap_mode="r")`.
///
/// Follows docs/formats/npy.md. Types that numpy lacks are served as raw bits: bf16 as `<u2`, the 8-bit
/// floats as
/// `|u1`, 4-bit and 6-bit floats as the packed bytes, `|u1` of rank 1.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "convert/base/result.h"
#include "convert/io/block_cache.h"
#include "convert/view/tensor_view.h"
#include "convert/view/virtual_file.h"

namespace weightfs {

/// numpy's type string for the elements of `dtype` as they are served ("<f4"; "<u2" for bf16).
std::string_view NpyDescr(DType dtype);

/// The bytes before the data: magic, version 1.0 (2.0 when the shape does not fit 64 KiB), dictionary,
/// padding to a multiple of 64; byte for byte what numpy.save writes.
std::string NpyHeader(const TensorView& view);

/// Header and data. Thread-safe.
/// \error as MakeViewFile
Result<VirtualFilePtr> MakeNpyFile(TensorView view, std::shared_ptr<BlockCache> cache);

/// The file name for a tensor: its name with `/`, `%`, NUL and a leading dot percent-encoded, and `.npy`. A
/// name that is longer than 250 bytes when encoded becomes `%tensor-NNNNN.npy`, which no encoded name can be.
/// \param index  the number of the tensor in the manifest
std::string NpyFileName(std::string_view tensor_name, size_t index);

}  // namespace weightfs
