#include "cli/digests.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "cli/source.h"

namespace weightfs::cli {
namespace {

/// Files up to this size are digested where they are read: two threads would cost more than they save.
constexpr uint64_t kInlineBytesMax = 4_MiB;
constexpr size_t kSlotCount = 4;

/// One running SHA-256.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) { Reset(); }
  ~Sha256() { EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(std::span<const std::byte> bytes) {
    ok_ &= EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1;
  }

  /// The digest of everything since the last call, as hexadecimal; empty when the library failed.
  std::string Finish() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
    unsigned length = 0;
    ok_ &= EVP_DigestFinal_ex(context_, digest.data(), &length) == 1;
    std::string text;
    for (unsigned i = 0; ok_ && i < length; ++i) {
      text += "0123456789abcdef"[digest[i] >> 4];
      text += "0123456789abcdef"[digest[i] & 15];
    }
    Reset();
    return text;
  }

 private:
  void Reset() { ok_ = context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1; }
  EVP_MD_CTX* const context_;
  bool ok_ = false;
};

/// Takes the bytes of one file in order and digests each tensor in it.
class TensorDigester {
 public:
  /// `tensors` and `digests` are parallel: tensors of one file, in order of their offset.
  TensorDigester(std::vector<const TensorReport*> tensors, std::vector<TensorDigest*> digests)
      : tensors_(std::move(tensors)), digests_(std::move(digests)) {}

  void Update(uint64_t offset_bytes, std::span<const std::byte> bytes) {
    const uint64_t end = offset_bytes + bytes.size();
    while (next_ < tensors_.size()) {
      const TensorReport& tensor = *tensors_[next_];
      const uint64_t tensor_end = tensor.file_offset_bytes + tensor.view.size_bytes();
      const uint64_t from = std::max(tensor.file_offset_bytes, offset_bytes);
      if (from > end) return;
      const uint64_t to = std::min(tensor_end, end);
      if (from < to) sha_.Update(bytes.subspan(from - offset_bytes, to - from));
      if (tensor_end > end) return;
      digests_[next_]->sha256 = sha_.Finish();
      ++next_;
    }
  }

 private:
  std::vector<const TensorReport*> tensors_;
  std::vector<TensorDigest*> digests_;
  size_t next_ = 0;
  Sha256 sha_;
};

/// A ring of read buffers between one reader and two digesting threads.
class Ring {
 public:
  /// The buffer of chunk `index`, once both digesters are done with what it held.
  ReadScratch& Acquire(uint64_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return index < kSlotCount + std::min(done_[0], done_[1]); });
    return slots_[index % kSlotCount].scratch;
  }
  void Publish(uint64_t index, std::span<const std::byte> bytes) {
    {
      const std::lock_guard lock(mutex_);
      slots_[index % kSlotCount].bytes = bytes;
      ready_ = index + 1;
    }
    changed_.notify_all();
  }
  /// Chunk `index`, once it is there; nothing after `Close`.
  std::optional<std::span<const std::byte>> Wait(uint64_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return index < ready_ || closed_; });
    if (index >= ready_) return std::nullopt;
    return slots_[index % kSlotCount].bytes;
  }
  void Release(size_t digester) {
    {
      const std::lock_guard lock(mutex_);
      ++done_[digester];
    }
    changed_.notify_all();
  }
  void Close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
  }

 private:
  struct Slot {
    ReadScratch scratch;
    std::span<const std::byte> bytes;
  };
  std::array<Slot, kSlotCount> slots_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t ready_ = 0;
  std::array<uint64_t, 2> done_ = {};
  bool closed_ = false;
};

/// Work on one file: where its bytes come from and where the digests go.
struct FileTask {
  const VirtualFile* file = nullptr;
  FileDigest* digest = nullptr;
  std::vector<const TensorReport*> tensors;
  std::vector<TensorDigest*> tensor_digests;
};

Status DigestInline(const FileTask& task, ReadScratch& scratch, Progress& progress) {
  Sha256 sha;
  TensorDigester tensors(task.tensors, task.tensor_digests);
  uint64_t offset = 0;
  const uint64_t size = task.file->size_bytes();
  do {
    const ByteRange range{offset, std::min(size, offset + kReadBytesMax)};
    std::span<const std::byte> bytes;
    if (!range.empty()) {
      WEIGHTFS_TRY(bytes, task.file->Read(range, scratch));
    }
    sha.Update(bytes);
    tensors.Update(offset, bytes);
    progress.Add(bytes.size());
    offset = range.end;
  } while (offset < size);
  task.digest->sha256 = sha.Finish();
  return {};
}

Status ReadInto(Ring& ring, const FileTask& task, Progress& progress) {
  const uint64_t size = task.file->size_bytes();
  for (uint64_t index = 0; index * kReadBytesMax < size; ++index) {
    ReadScratch& scratch = ring.Acquire(index);
    const uint64_t begin = index * kReadBytesMax;
    WEIGHTFS_TRY(const std::span<const std::byte> bytes,
                 task.file->Read({begin, std::min(size, begin + kReadBytesMax)}, scratch));
    ring.Publish(index, bytes);
    progress.Add(bytes.size());
  }
  return {};
}

Status DigestPipelined(const FileTask& task, Progress& progress) {
  Ring ring;
  std::jthread file_digester([&] {
    Sha256 sha;
    for (uint64_t index = 0;; ++index) {
      const auto bytes = ring.Wait(index);
      if (!bytes) break;
      sha.Update(*bytes);
      ring.Release(0);
    }
    task.digest->sha256 = sha.Finish();
  });
  std::jthread tensor_digester([&] {
    TensorDigester tensors(task.tensors, task.tensor_digests);
    for (uint64_t index = 0;; ++index) {
      const auto bytes = ring.Wait(index);
      if (!bytes) return;
      tensors.Update(index * kReadBytesMax, *bytes);
      ring.Release(1);
    }
  });
  const Status read = ReadInto(ring, task, progress);
  ring.Close();
  return read;
}

/// Several threads take files, largest first.
class Verifier {
 public:
  Verifier(std::vector<FileTask> tasks, Progress& progress) : tasks_(std::move(tasks)), progress_(progress) {
    std::sort(tasks_.begin(), tasks_.end(), [](const FileTask& a, const FileTask& b) {
      return a.file->size_bytes() > b.file->size_bytes();
    });
  }

  Status Run(uint32_t threads) {
    {
      std::vector<std::jthread> workers;
      for (uint32_t i = 0; i < std::min<size_t>(threads, tasks_.size()); ++i)
        workers.emplace_back([this] { Work(); });
    }
    if (error_) return std::unexpected(*std::move(error_));
    return {};
  }

 private:
  void Work() {
    ReadScratch scratch;
    while (!stop_) {
      const size_t index = next_.fetch_add(1);
      if (index >= tasks_.size()) return;
      const FileTask& task = tasks_[index];
      const Status done = task.file->size_bytes() <= kInlineBytesMax ? DigestInline(task, scratch, progress_)
                                                                     : DigestPipelined(task, progress_);
      if (done) continue;
      stop_ = true;
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = done.error();
    }
  }

  std::vector<FileTask> tasks_;
  Progress& progress_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::optional<Error> error_;  // Under mutex_ while workers run.
};

bool AllDigested(const Digests& digests) {
  const auto digested = [](const auto& entry) { return !entry.sha256.empty(); };
  return std::all_of(digests.files.begin(), digests.files.end(), digested) &&
         std::all_of(digests.tensors.begin(), digests.tensors.end(), digested);
}

}  // namespace

std::string SetOfFile(std::string_view path) {
  std::string set(path.substr(0, path.size() - (path.ends_with(".safetensors") ? 12 : 0)));
  // "-00001-of-00002", before the ending or before a variant.
  const auto is_digits = [&](size_t from) {
    return from + 5 <= set.size() && std::all_of(set.begin() + from, set.begin() + from + 5,
                                                 [](unsigned char c) { return c >= '0' && c <= '9'; });
  };
  constexpr std::string_view kOf = "-of-";
  for (size_t at = set.rfind(kOf); at != std::string::npos && at >= 6; at = set.rfind(kOf, at - 1)) {
    if (set[at - 6] != '-' || !is_digits(at - 5) || !is_digits(at + kOf.size())) continue;
    set.erase(at - 6, 6 + kOf.size() + 5);
    break;
  }
  return set;
}

uint64_t ListedBytes(const VirtualTree& tree) {
  uint64_t total = 0;
  for (const ListedFile& file : ListFiles(tree)) total += file.size_bytes;
  return total;
}

Result<Digests> ComputeDigests(const OpenedSource& opened, uint32_t files_at_once, Progress& progress) {
  Digests digests;
  std::vector<FileTask> tasks;
  std::map<std::string_view, size_t> task_of_file;
  const std::vector<ListedFile> files = ListFiles(opened.tree);
  digests.files.reserve(files.size());
  for (const ListedFile& file : files) {
    digests.files.push_back({file.path, file.size_bytes, {}, false});
    task_of_file[file.path] = tasks.size();
    tasks.push_back({opened.tree.node(file.node).file.get(), &digests.files.back(), {}, {}});
  }
  digests.tensors.reserve(opened.report.tensors.size());
  for (const TensorReport& tensor : opened.report.tensors) {
    const auto task = task_of_file.find(tensor.file);
    if (task == task_of_file.end()) continue;
    const TensorView& view = tensor.view;
    digests.tensors.push_back({SetOfFile(tensor.file),
                               tensor.name,
                               tensor.file,
                               std::string(SafetensorsName(view.dtype())),
                               view.shape(),
                               view.size_bytes(),
                               {}});
    tasks[task->second].tensors.push_back(&tensor);
    tasks[task->second].tensor_digests.push_back(&digests.tensors.back());
    tasks[task->second].digest->holds_tensors = true;
  }
  // The report lists the tensors of a file in the order in which they lie in it.
  WEIGHTFS_CHECK(Verifier(std::move(tasks), progress).Run(files_at_once));
  if (!AllDigested(digests)) return Fail(ErrorCode::kInternal, "SHA-256 could not be computed");
  return digests;
}

}  // namespace weightfs::cli
