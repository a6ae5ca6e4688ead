// Reads a file the way loaders do and prints how fast it went: one line of JSON.
//
//   weightfs_read_bench MODE FILE [--block BYTES] [--threads N] [--seconds S] [--keep-cache]
//
// MODE: sequential (pread, buffered), direct (pread, O_DIRECT), mmap (a walk that copies every page), random (pread of
// blocks at random places). Pages of FILE that the kernel holds are dropped first unless --keep-cache is given.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Settings {
  std::string mode, file;
  size_t block_bytes = 1 << 20;
  unsigned threads = 1;
  double seconds = 2;  // Of random reads; the other modes read the file once.
  bool keep_cache = false;
};

[[noreturn]] void Die(const std::string& what) {
  std::perror(what.c_str());
  std::exit(1);
}

Settings ParseArguments(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: weightfs_read_bench sequential|direct|mmap|random FILE [--block BYTES] [--threads N] "
               "[--seconds S] [--keep-cache]\n", stderr);
    std::exit(2);
  }
  Settings settings{.mode = argv[1], .file = argv[2]};
  for (int i = 3; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--keep-cache") {
      settings.keep_cache = true;
    } else if (i + 1 < argc && word == "--block") {
      settings.block_bytes = std::strtoull(argv[++i], nullptr, 10);
    } else if (i + 1 < argc && word == "--threads") {
      settings.threads = static_cast<unsigned>(std::strtoul(argv[++i], nullptr, 10));
    } else if (i + 1 < argc && word == "--seconds") {
      settings.seconds = std::strtod(argv[++i], nullptr);
    } else {
      std::fprintf(stderr, "weightfs_read_bench: unknown argument %s\n", argv[i]);
      std::exit(2);
    }
  }
  return settings;
}

char* AlignedBuffer(size_t size) {
  void* memory = std::aligned_alloc(4096, (size + 4095) / 4096 * 4096);
  if (memory == nullptr) Die("aligned_alloc");
  std::memset(memory, 1, size);  // Faults of the buffer are not what is measured.
  return static_cast<char*>(memory);
}

uint64_t ReadBlocks(const Settings& settings, int fd, uint64_t begin, uint64_t end) {
  char* buffer = AlignedBuffer(settings.block_bytes);
  uint64_t total = 0;
  for (uint64_t offset = begin; offset < end;) {
    // Whole pages, also at the end of the file: O_DIRECT takes no less.
    const uint64_t wanted = std::min<uint64_t>(settings.block_bytes, (end - offset + 4095) / 4096 * 4096);
    const ssize_t n = pread(fd, buffer, wanted, offset);
    if (n <= 0) Die("pread");
    offset += n, total += n;
  }
  std::free(buffer);
  return total;
}

uint64_t WalkMapping(const Settings& settings, const char* mapping, uint64_t begin, uint64_t end) {
  char* buffer = AlignedBuffer(settings.block_bytes);
  for (uint64_t offset = begin; offset < end; offset += settings.block_bytes)
    std::memcpy(buffer, mapping + offset, std::min<uint64_t>(settings.block_bytes, end - offset));
  std::free(buffer);
  return end - begin;
}

uint64_t ReadRandom(const Settings& settings, int fd, uint64_t size, unsigned seed) {
  char* buffer = AlignedBuffer(settings.block_bytes);
  std::mt19937_64 random(seed);
  const auto stop = std::chrono::steady_clock::now() + std::chrono::duration<double>(settings.seconds);
  uint64_t total = 0;
  while (std::chrono::steady_clock::now() < stop) {
    const uint64_t offset = random() % (size - settings.block_bytes) / 4096 * 4096;
    const ssize_t n = pread(fd, buffer, settings.block_bytes, offset);
    if (n != static_cast<ssize_t>(settings.block_bytes)) Die("pread");
    total += n;
  }
  std::free(buffer);
  return total;
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = ParseArguments(argc, argv);
  const int fd = open(settings.file.c_str(), O_RDONLY | (settings.mode == "direct" ? O_DIRECT : 0));
  if (fd < 0) Die(settings.file);
  struct stat status;
  if (fstat(fd, &status) != 0) Die("fstat");
  const uint64_t size = status.st_size;
  if (!settings.keep_cache) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  char* mapping = nullptr;
  if (settings.mode == "mmap") {
    mapping = static_cast<char*>(mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0));
    if (mapping == MAP_FAILED) Die("mmap");
  }

  std::atomic<uint64_t> total{0};
  std::vector<std::thread> threads;
  const auto start = std::chrono::steady_clock::now();
  for (unsigned i = 0; i < settings.threads; ++i) {
    const uint64_t begin = size / settings.threads * i / 4096 * 4096;
    const uint64_t end = i + 1 == settings.threads ? size : size / settings.threads * (i + 1) / 4096 * 4096;
    threads.emplace_back([&, i, begin, end] {
      total += settings.mode == "random" ? ReadRandom(settings, fd, size, i)
               : mapping != nullptr      ? WalkMapping(settings, mapping, begin, end)
                                         : ReadBlocks(settings, fd, begin, end);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("{\"mode\": \"%s\", \"bytes\": %llu, \"seconds\": %.6f, \"gigabytes_per_second\": %.4f}\n",
              settings.mode.c_str(), static_cast<unsigned long long>(total.load()), seconds, total / seconds / 1e9);
  return 0;
}
