#include "convert/source/torch_tar/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "convert/pickle/unpickler.h"
#include "convert/source/torch/state_dict.h"
#include "convert/source/torch_tar/object_table.h"

namespace weightfs {
namespace {

/// The bytes of the one member that is called `name`.
Result<FilePtr> OpenMember(const FilePtr& file, const std::vector<TarMember>& members,
                           std::string_view name) {
  const auto count = std::ranges::count(members, name, &TarMember::name);
  if (count != 1)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: {} members are called '{}'; expected one", file->name(), count, name));
  const TarMember& member = *std::ranges::find(members, name, &TarMember::name);
  if (!member.regular)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: the member '{}' is no ordinary file; expected one", file->name(), name));
  return MakeSubFile(file, member.data_offset_bytes, member.size_bytes,
                     fmt::format("{}!{}", file->name(), name));
}

}  // namespace

bool AreTorchTarMembers(const std::vector<TarMember>& members) {
  return std::ranges::all_of(std::initializer_list<std::string_view>{"storages", "tensors", "pickle"},
                             [&](std::string_view name) {
                               return std::ranges::find(members, name, &TarMember::name) != members.end();
                             });
}

Result<Checkpoint> ReadTorchTar(const FilePtr& file, const SourceContext& context) {
  WEIGHTFS_TRY(const std::vector<TarMember> members, ReadTarMembers(*file, kTorchTarMembersMax));
  WEIGHTFS_TRY(const FilePtr storages, OpenMember(file, members, "storages"));
  WEIGHTFS_TRY(const FilePtr tensors, OpenMember(file, members, "tensors"));
  WEIGHTFS_TRY(const FilePtr pickle_member, OpenMember(file, members, "pickle"));
  TarObjects objects(file->name());
  WEIGHTFS_CHECK(objects.ReadStorages(storages, context.limits));
  WEIGHTFS_CHECK(objects.ReadTensors(tensors, context.limits));
  WEIGHTFS_TRY(const pickle::Tree tree,
               pickle::Parse(*pickle_member, 0, pickle_member->name(), context.limits));
  WEIGHTFS_TRY(Checkpoint checkpoint, ReadStateDict(*tree.root(), tree.size_bytes(), objects, context));
  checkpoint.format = "torch-tar";
  checkpoint.metadata_bytes = tree.size_bytes() + objects.metadata_bytes();
  return checkpoint;
}

}  // namespace weightfs
