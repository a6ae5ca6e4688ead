/// \file
/// The payload files of a distributed checkpoint: what the bytes that the metadata names hold.
///
/// Follows docs/formats/dcp.md, "Payloads".
#pragma once

#include <span>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/dcp/metadata.h"
#include "convert/source/source_files.h"
#include "convert/source/torch/rebuild.h"

namespace weightfs {

/// One chunk to find. Points into a DcpMetadata.
struct DcpWanted {
  const DcpTensor* tensor = nullptr;
  const DcpChunk* chunk = nullptr;
};

/// What was found.
struct DcpPayloads {
  std::vector<RebuiltTensor>
      chunks;                   ///< In the order that was asked for; of the sizes and dtype of the chunk.
  uint64_t metadata_bytes = 0;  ///< Of archives and headers that were read.
};

/// Reads the archive directory, or the safetensors header, of each chunk; no element is read. Costs about one
/// small read a chunk, in file order.
/// \param folder  of the payload files, relative to the root of `source`
/// \error kNotFound  a payload file that is absent, or a chunk that the metadata gives no place
/// \error kCorrupt   a file that ends before the chunk does, bytes that hold no tensor or another one, chunks
/// that
///                   share bytes. Messages name the file, the tensor and the region of it that the chunk is.
/// \error as ReadTorchZipTensor, ReadSafetensors, MakeZstdFile
Result<DcpPayloads> ReadDcpPayloads(SourceFiles& source, const std::string& folder,
                                    const DcpMetadata& metadata, std::span<const DcpWanted> wanted,
                                    const SourceContext& context);

}  // namespace weightfs
