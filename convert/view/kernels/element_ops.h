/// \file
/// Everything that is done to the elements of a view between storage and reply.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "convert/view/kernels/cast.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// The element operations of a view, ready to run over packed elements: byte swap, sign flips, cast,
/// arithmetic. For views whose bytes are served as stored an element is one unit (layout.h). A value;
/// thread-safe.
class ElementPipeline {
 public:
  explicit ElementPipeline(const TensorView& view);

  uint32_t stored_bytes() const { return stored_bytes_; }  ///< Of one element, in the storage: 1, 2, 4 or 8.
  uint32_t served_bytes() const { return served_bytes_; }  ///< Of one element, as served: 1, 2, 4 or 8.
  /// Served bytes are stored bytes.
  bool is_copy() const { return cast_ == nullptr && ops_ == ElementOps{} && arithmetic_.is_none(); }

  /// Produces `destination` from the packed stored elements at `source`.
  /// \param skip_bytes  served bytes of the first element that come before `destination`, less than
  /// served_bytes()
  /// Reads exactly the elements that `destination` touches; the two do not overlap.
  void Run(const std::byte* source, uint32_t skip_bytes, std::span<std::byte> destination) const;

  friend bool operator==(const ElementPipeline&, const ElementPipeline&) = default;

 private:
  /// \pre not a copy
  void RunWhole(const std::byte* source, std::byte* destination, size_t count) const;
  void RunStored(const std::byte* source, std::byte* destination, size_t count) const;
  void ApplyOps(std::byte* elements, size_t count) const;

  Arithmetic arithmetic_;
  DType served_dtype_;
  CastKernel cast_ = nullptr;
  ElementOps ops_;
  uint8_t stored_bytes_ = 1;
  uint8_t served_bytes_ = 1;
  bool complex_ = false;
};

}  // namespace weightfs
