// How values of a pickle become tensors: storages, rebuild functions, element types.
#include "tests/unit/source/torch_test_util.h"

namespace weightfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kStorage = Floats({0, 1, 2, 3, 4, 5});

/// The zip file of one tensor `value` over six floats under the key 0.
std::string FileOf(const PickledValue& value) { return TorchZip(OneTensorDict(value), {{"0", kStorage}}); }

PickledValue Six() { return TorchStorageId("FloatStorage", "0", 6); }

void ExpectTensor(const PickledValue& value, const Shape& shape, const std::string& bytes) {
  const Result<Checkpoint> read = ReadCheckpoint(FileOf(value));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  ASSERT_EQ(read->tensors.size(), 1u);
  EXPECT_EQ(read->tensors[0].view.shape(), shape);
  EXPECT_EQ(ReadTensor(read->tensors[0]).value(), bytes);
}

void ExpectUnsupported(const PickledValue& value, const std::string& reason) {
  const Result<Checkpoint> read = ReadCheckpoint(FileOf(value));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_THAT(read->tensors, IsEmpty());
  ASSERT_EQ(read->unsupported.size(), 1u);
  EXPECT_EQ(read->unsupported[0].name, "w");
  EXPECT_THAT(read->unsupported[0].reason, HasSubstr(reason));
}

PickledValue Torch(std::string_view name) { return PickleGlobal("torch", name); }
PickledValue Utils(std::string_view name) { return PickleGlobal("torch._utils", name); }
PickledValue Parameter() { return PickleGlobal("torch.nn.parameter", "Parameter"); }

PickledValue V2(const PickledValue& metadata) {
  return PickleCall(Utils("_rebuild_tensor_v2"), {Six(), PickleInt(0), PickleNumbers({6}), PickleNumbers({1}),
                                                  PickleBool(false), EmptyOrderedDict(), metadata});
}

PickledValue V3(std::string_view dtype, int64_t count) {
  return PickleCall(Utils("_rebuild_tensor_v3"),
                    {TorchStorageId("UntypedStorage", "0", 24), PickleInt(0), PickleNumbers({count}),
                     PickleNumbers({1}), PickleBool(false), EmptyOrderedDict(), Torch(dtype)});
}

TEST(TorchTensorTest, ServesViewsOfAStorage) {
  ExpectTensor(TorchTensor(Six(), 0, {2, 3}, {3, 1}), {2, 3}, kStorage);
  ExpectTensor(TorchTensor(Six(), 4, {2}, {1}), {2}, Floats({4, 5}));
  ExpectTensor(TorchTensor(Six(), 0, {3, 2}, {1, 3}), {3, 2}, Floats({0, 3, 1, 4, 2, 5}));
  ExpectTensor(TorchTensor(Six(), 5, {}, {}), {}, Floats({5}));
  ExpectTensor(TorchTensor(Six(), 1, {2, 2}, {0, 1}), {2, 2}, Floats({1, 2, 1, 2}));
  ExpectTensor(TorchTensor(Six(), 900, {0, 3}, {3, 1}), {0, 3}, "");
}

TEST(TorchTensorTest, RefusesViewsOutsideTheStorage) {
  for (const PickledValue& value :
       {TorchTensor(Six(), 1, {6}, {1}), TorchTensor(Six(), 0, {7}, {1}),
        TorchTensor(Six(), 0, {2, 3}, {4, 1}), TorchTensor(Six(), INT64_MAX, {2}, {1}),
        TorchTensor(Six(), 0, {INT64_MAX, 2}, {INT64_MAX, 1}), TorchTensor(Six(), -1, {1}, {1}),
        TorchTensor(Six(), 0, {-1}, {1}), TorchTensor(Six(), 0, {2}, {-1}),
        TorchTensor(Six(), 0, {2, 3}, {1})}) {
    const Error error = ReadError(FileOf(value));
    EXPECT_EQ(error.code, ErrorCode::kCorrupt) << error.message;
    EXPECT_THAT(error.message, HasSubstr("file.pt: tensor 'w': "));
  }
}

TEST(TorchTensorTest, UnwrapsParametersOfAllAges) {
  const PickledValue data = TorchTensor(Six(), 0, {6}, {1});
  const PickledValue hooks = EmptyOrderedDict();
  const PickledValue direct = PickleTuple({Six(), PickleInt(0), PickleNumbers({6}), PickleNumbers({1})});
  for (const PickledValue& value : {
           PickleCall(Utils("_rebuild_parameter"), {data, PickleBool(true), hooks}),
           PickleCall(Utils("_rebuild_parameter_with_state"),
                      {data, PickleBool(true), hooks, PickleDict({})}),
           PickleCall(Utils("_rebuild_device_tensor_from_cpu_tensor"),
                      {data, Torch("float32"), PickleText("xla:0"), PickleBool(false)}),
           PickleBuild(PickleNew(Parameter(), {data}),
                       PickleTuple({PickleBool(true), PickleBool(false), hooks})),
           PickleBuild(PickleCall(Parameter(), {data, PickleBool(true)}),
                       PickleTuple({PickleBool(true), hooks, hooks})),
           PickleBuild(PickleNew(Parameter(), {}),
                       PickleTuple({data, hooks, hooks, PickleBool(true), hooks})),
           PickleBuild(PickleNew(Parameter(), {}), direct),
           PickleBuild(PickleCall(PickleGlobal("copy_reg", "__newobj__"), {Parameter(), data}), PickleNone()),
           PickleBuild(PickleCall(Torch("FloatTensor"), {}), direct),
           PickleBuild(PickleNew(PickleGlobal("torch.cuda", "FloatTensor"), {}), direct),
           PickleCall(PickleGlobal("torch._tensor", "_rebuild_from_type_v2"),
                      {Utils("_rebuild_tensor_v2"), PickleGlobal("my.lib", "Sub"),
                       PickleTuple({Six(), PickleInt(0), PickleTuple({PickleInt(6)}), PickleNumbers({1}),
                                    PickleBool(false), hooks}),
                       PickleDict({})}),
           PickleCall(
               Utils("_rebuild_tensor"),
               {Six(), PickleInt(0), PickleCall(Torch("Size"), {PickleNumbers({6})}), PickleNumbers({1})}),
       })
    ExpectTensor(value, {6}, kStorage);
}

TEST(TorchTensorTest, AppliesConjAndNeg) {
  ExpectTensor(V2(PickleDict({{PickleText("neg"), PickleBool(true)}})), {6},
               Floats({-0.f, -1, -2, -3, -4, -5}));
  ExpectTensor(V2(PickleDict({{PickleText("neg"), PickleBool(false)}})), {6}, kStorage);
  ExpectTensor(V2(PickleNone()), {6}, kStorage);
  ExpectUnsupported(V2(PickleDict({{PickleText("color"), PickleBool(true)}})), "metadata 'color'");
  EXPECT_THAT(ReadError(FileOf(V2(PickleDict({{PickleText("conj"), PickleBool(true)}})))).message,
              HasSubstr("a float32 tensor marked conj"));
  const PickledValue both =
      PickleDict({{PickleText("conj"), PickleBool(true)}, {PickleText("neg"), PickleBool(true)}});
  const PickledValue complex =
      PickleCall(Utils("_rebuild_tensor_v2"),
                 {TorchStorageId("ComplexFloatStorage", "0", 3), PickleInt(1), PickleNumbers({2}),
                  PickleNumbers({1}), PickleBool(false), EmptyOrderedDict(), both});
  ExpectTensor(complex, {2}, Floats({-2, 3, -4, 5}));
}

TEST(TorchTensorTest, NamesWhatSafetensorsCannotCarry) {
  const PickledValue data = TorchTensor(Six(), 0, {6}, {1});
  ExpectUnsupported(PickleCall(Utils("_rebuild_qtensor"), {data}), "quantized");
  ExpectUnsupported(PickleCall(Utils("_rebuild_sparse_tensor"),
                               {PickleCall(PickleGlobal("torch.serialization", "_get_layout"),
                                           {PickleText("torch.sparse_coo")}),
                                PickleTuple({data})}),
                    "torch.sparse_coo tensor");
  ExpectUnsupported(PickleCall(Utils("_rebuild_nested_tensor"), {data}), "nested");
  ExpectUnsupported(PickleCall(Utils("_rebuild_meta_tensor_no_storage"), {data}), "meta");
  ExpectUnsupported(PickleCall(Utils("_rebuild_device_tensor_from_numpy"), {data}), "numpy");
  ExpectUnsupported(PickleCall(Utils("_rebuild_of_the_future"), {data}), "unknown kind");
  ExpectUnsupported(TorchTensor(TorchStorageId("ComplexDoubleStorage", "0", 1), 0, {1}, {1}), "complex128");
  ExpectUnsupported(TorchTensor(TorchStorageId("QInt8Storage", "0", 6), 0, {6}, {1}), "qint8");
  ExpectUnsupported(TorchTensor(TorchStorageId("FloatStorage", "7", 6, "meta"), 0, {6}, {1}), "meta tensor");
  ExpectUnsupported(V3("bits8", 24), "bits8");
  ExpectUnsupported(V3("int4", 24), "int4");
  ExpectUnsupported(V3("float2_of_the_future", 24), "float2_of_the_future");
  ExpectUnsupported(
      PickleCall(PickleGlobal("torch._tensor", "_rebuild_from_type_v2"),
                 {Utils("_rebuild_wrapper_subclass"), PickleGlobal("torchao.dtypes", "Float8Tensor"),
                  PickleTuple({}), PickleDict({})}),
      "torchao.dtypes.Float8Tensor");
}

PickledValue DTensor(std::string_view placement, const std::vector<int64_t>& global_shape) {
  const PickledValue types =
      PickleCall(PickleGlobal("torch.distributed.tensor.placement_types", placement), {});
  const PickledValue spec =
      PickleBuild(PickleNew(PickleGlobal("torch.distributed.tensor._dtensor_spec", "DTensorSpec"), {}),
                  PickleDict({{PickleText("placements"), PickleTuple({types})}}));
  const PickledValue slots = PickleDict(
      {{PickleText("_local_tensor"), TorchTensor(Six(), 0, {2, 3}, {3, 1})}, {PickleText("_spec"), spec}});
  return PickleCall(PickleGlobal("torch._tensor", "_rebuild_from_type_v2"),
                    {Utils("_rebuild_wrapper_subclass"), PickleGlobal("torch.distributed.tensor", "DTensor"),
                     PickleTuple({PickleGlobal("torch.distributed.tensor", "DTensor"), Torch("float32"),
                                  PickleNumbers(global_shape)}),
                     PickleTuple({PickleNone(), slots})});
}

TEST(TorchTensorTest, ServesDTensorsThatAreWhole) {
  ExpectTensor(DTensor("Replicate", {2, 3}), {2, 3}, kStorage);
  ExpectTensor(DTensor("Shard", {2, 3}), {2, 3}, kStorage);
  ExpectUnsupported(DTensor("Shard", {4, 3}), "one rank's part");
  ExpectUnsupported(DTensor("Partial", {2, 3}), "one rank's part");
}

TEST(TorchTensorTest, ReadsUntypedStorages) {
  ExpectTensor(V3("uint16", 12), {12}, kStorage);
  ExpectTensor(V3("float8_e4m3fn", 24), {24}, kStorage);
  ExpectTensor(V3("float4_e2m1fn_x2", 24), {48}, kStorage);
  EXPECT_EQ(ReadError(FileOf(V3("uint16", 13))).code, ErrorCode::kCorrupt);
}

TEST(TorchTensorTest, RefusesArgumentsThatDoNotFit) {
  const PickledValue data = TorchTensor(Six(), 0, {6}, {1});
  for (const PickledValue& value : {
           PickleCall(Utils("_rebuild_tensor_v2"),
                      {Six(), PickleInt(0), PickleNumbers({6}), PickleNumbers({1})}),
           PickleCall(Utils("_rebuild_tensor_v2"), {}),
           PickleCall(Utils("_rebuild_tensor"),
                      {PickleInt(3), PickleInt(0), PickleNumbers({6}), PickleNumbers({1})}),
           PickleCall(Utils("_rebuild_tensor"),
                      {Six(), PickleText("0"), PickleNumbers({6}), PickleNumbers({1})}),
           PickleCall(Utils("_rebuild_tensor"), {Six(), PickleInt(0), PickleInt(6), PickleNumbers({1})}),
           PickleCall(Utils("_rebuild_parameter"), {}),
           PickleCall(Utils("_rebuild_parameter"), {PickleInt(1)}),
           PickleNew(Parameter(), {}),
           PickleCall(Torch("FloatTensor"), {}),
           PickleCall(PickleGlobal("torch._tensor", "_rebuild_from_type_v2"), {data}),
           PickleCall(Utils("_rebuild_tensor_v3"),
                      {Six(), PickleInt(0), PickleNumbers({6}), PickleNumbers({1}), PickleBool(false),
                       EmptyOrderedDict(), PickleText("torch.float32")}),
       }) {
    const Error error = ReadError(FileOf(value));
    EXPECT_EQ(error.code, ErrorCode::kCorrupt) << error.message;
    EXPECT_THAT(error.message, HasSubstr("file.pt: tensor 'w': "));
  }
}

TEST(TorchTensorTest, RefusesTooManyWrappers) {
  PickledValue value = TorchTensor(Six(), 0, {6}, {1});
  for (int i = 0; i < 100; ++i)
    value = PickleCall(Utils("_rebuild_parameter"), {value, PickleNone(), PickleNone()});
  EXPECT_THAT(ReadError(FileOf(value)).message, HasSubstr("wrappers"));
}

TEST(TorchTensorTest, BoundsTheRank) {
  const std::vector<int64_t> ones(64, 1), more(65, 1);
  ExpectTensor(TorchTensor(Six(), 0, ones, ones), Shape(64, 1), Floats({0}));
  const Error error = ReadError(FileOf(TorchTensor(Six(), 0, more, more)));
  EXPECT_EQ(error.code, ErrorCode::kLimitExceeded);
  EXPECT_THAT(error.message, HasSubstr("65 dimensions; the limit is 64"));
}

TEST(TorchTensorTest, RefusesStoragesWithTwoMeanings) {
  const auto file = [](const PickledValue& second) {
    return TorchZip(PickleDict({{PickleText("a"), TorchTensor(Six(), 0, {6}, {1})},
                                {PickleText("b"), TorchTensor(second, 0, {1}, {1})}}),
                    {{"0", kStorage}});
  };
  EXPECT_TRUE(ReadCheckpoint(file(Six())).has_value());
  EXPECT_THAT(ReadError(file(TorchStorageId("FloatStorage", "0", 5))).message,
              HasSubstr("two sizes, 24 and 20 bytes"));
  EXPECT_THAT(ReadError(file(TorchStorageId("IntStorage", "0", 6))).message,
              HasSubstr("two element types, float32 and int32"));
}

TEST(TorchTensorTest, TiedTensorsShareTheirStorage) {
  const auto read = ReadCheckpoint(
      TorchZip(PickleDict({{PickleText("a"), TorchVector("0", 6)}, {PickleText("b"), TorchVector("0", 6)}}),
               {{"0", kStorage}}));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_THAT(Names(*read), ElementsAre("a", "b"));
  EXPECT_TRUE(read->tensors[0].view.IsAliasOf(read->tensors[1].view));
  EXPECT_EQ(read->tensors[0].storage, "data/0");
  EXPECT_EQ(read->tensors[0].file, "file.pt");
}

}  // namespace
}  // namespace weightfs::testing
