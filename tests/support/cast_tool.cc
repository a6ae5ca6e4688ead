// weightfs_cast_tool FROM TO SOURCE DESTINATION: runs a cast kernel over a file of packed elements, so that the
// Python tests can compare it with torch. FROM and TO are words of `--dtype`.
#include <cstddef>
#include <fstream>
#include <iostream>
#include <vector>

#include "convert/view/kernels/cast.h"

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: weightfs_cast_tool FROM TO SOURCE DESTINATION\n";
    return 2;
  }
  const auto from = weightfs::DTypeFromOption(argv[1]), to = weightfs::DTypeFromOption(argv[2]);
  std::ifstream in(argv[3], std::ios::binary | std::ios::ate);
  if (!from || !to || !in) {
    std::cerr << "weightfs_cast_tool: a type that is not cast, or a file that cannot be read\n";
    return 2;
  }
  std::vector<std::byte> source(static_cast<size_t>(in.tellg()));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(source.data()), static_cast<std::streamsize>(source.size()));
  const size_t count = source.size() / (weightfs::BitWidth(*from) / 8);
  std::vector<std::byte> destination(count * weightfs::BitWidth(*to) / 8);
  weightfs::FindCastKernel(*from, *to)(source.data(), destination.data(), count);
  std::ofstream out(argv[4], std::ios::binary);
  out.write(reinterpret_cast<const char*>(destination.data()), static_cast<std::streamsize>(destination.size()));
  out.close();
  return in && out ? 0 : 1;
}
