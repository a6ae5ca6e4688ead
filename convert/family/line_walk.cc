#include "convert/family/line_walk.h"

#include <fmt/format.h>

#include <span>

namespace weightfs::family {
namespace {

/// Recurses once for each group of `for`, of which there are few.
class Walker {
 public:
  Walker(ScopedEnvironment& environment, const std::function<Status()>& visit)
      : environment_(environment), visit_(visit) {}

  Status Walk(std::span<const Indices> groups) {
    if (groups.empty()) return visit_();
    const Indices& group = groups.front();
    const auto step = [&](std::span<const Value> values) -> Status {
      WEIGHTFS_CHECK(environment_.Charge(1));
      const size_t outer = environment_.indices.size();
      for (size_t i = 0; i < values.size(); ++i) environment_.indices.emplace_back(group.names[i], values[i]);
      const Status walked = Walk(groups.subspan(1));
      environment_.indices.resize(outer);
      return walked;
    };
    if (group.range.empty()) {
      for (const std::vector<Value>& tuple : group.tuples) WEIGHTFS_CHECK(step(tuple));
      return {};
    }
    std::vector<Value> ends;
    for (const Expression& expression : group.range) {
      auto value = expression.Evaluate(environment_);
      if (!value) return PlacedExpression{expression, group.place}.Explain(std::move(value).error());
      ends.push_back(*std::move(value));
    }
    if (ends.size() == 1 && ends[0].is_list()) return WalkList(group, ends[0], step);
    const int64_t* begin = ends[0].integer();
    const int64_t* end = ends.back().integer();
    if (begin == nullptr || end == nullptr || group.names.size() != 1)
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format("{}: `{}` is {}{}; expected a count{}", group.place.Describe(), group.range[0].text(),
                      ends[0].Describe(), ends.size() == 2 ? ":" + ends[1].Describe() : "",
                      group.names.size() == 1 ? "" : ", or lists of values for several names"));
    for (int64_t i = ends.size() == 2 ? *begin : 0; i < *end; ++i) {
      const Value value(i);
      WEIGHTFS_CHECK(step({&value, 1}));
    }
    return {};
  }

 private:
  template <typename Step>
  Status WalkList(const Indices& group, const Value& list, Step step) {
    for (uint64_t i = 0; i < list.list_size(); ++i) {
      const Value item = list.ListItem(i);
      std::vector<Value> values = {item};
      if (group.names.size() > 1) {
        values.clear();
        for (uint64_t j = 0; item.is_list() && j < item.list_size(); ++j) values.push_back(item.ListItem(j));
      }
      if (values.size() != group.names.size())
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: item {} of the list is {}; expected {} values", group.place.Describe(),
                                i, item.Describe(), group.names.size()));
      WEIGHTFS_CHECK(step(values));
    }
    return {};
  }

  ScopedEnvironment& environment_;
  const std::function<Status()>& visit_;
};

}  // namespace

Status ForEachCombination(const std::vector<Indices>& groups, ScopedEnvironment& environment,
                          const std::function<Status()>& visit) {
  return Walker(environment, visit).Walk(groups);
}

Status ForEachOf(const Line& line, ScopedEnvironment& environment, const std::function<Status()>& visit) {
  const std::function<Status()> with_sizes = [&]() -> Status {
    if (line.when) {
      WEIGHTFS_TRY(const bool exists, line.when->EvaluateCondition(environment));
      if (!exists) return {};
    }
    environment.sizes.clear();
    for (const LocalSize& size : line.sizes) {
      if (size.size) {
        WEIGHTFS_TRY(Value value, size.text.Evaluate(environment));
        environment.sizes.emplace_back(size.name, std::move(value));
        continue;
      }
      WEIGHTFS_TRY(const std::string text, size.text.EvaluateText(environment));
      auto value = environment.EvaluateText(text);
      if (!value) return size.text.Explain(std::move(value).error());
      environment.sizes.emplace_back(size.name, *std::move(value));
    }
    const Status visited = visit();
    environment.sizes.clear();
    return visited;
  };
  return ForEachCombination(line.indices, environment, with_sizes);
}

}  // namespace weightfs::family
