// Arrays from and to DLPack, by a producer and a consumer made by hand.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "capi/dlpack.h"
#include "support/c_calls.h"

using ds::test::TakeMessage;

namespace {

namespace dl = ds::dlpack;

// An array of 2 x 3 floats as a framework gives it.
struct Producer {
  std::vector<float> data = {0, 1, 2, 3, 4, 5};
  std::vector<int64_t> shape = {2, 3}, strides = {3, 1};
  DLManagedTensorVersioned managed = {};

  Producer() {
    managed.version = {1, 0};
    managed.dl_tensor = {data.data(),  {dl::kCpu, 0},  2, {dl::kFloat, 32, 1},
                         shape.data(), strides.data(), 0};
  }
  // What is read of it; or why not, with nothing written.
  std::string Read(ds_tensor* view = nullptr, int32_t* read_only = nullptr) {
    ds_tensor out;
    std::memset(&out, 0x5A, sizeof out);
    const ds_tensor before = out;
    const ds_status status = ds_tensor_from_dlpack(&managed, &out, read_only);
    if (status == DS_OK) {
      if (view != nullptr) *view = out;
      return "";
    }
    EXPECT_EQ(std::memcmp(&out, &before, sizeof out), 0);
    return std::string(ds_status_string(status)) + ": " + TakeMessage();
  }
};

TEST(DlpackC, ABorrowedArrayIsAView) {
  Producer producer;
  ds_tensor view = DS_TENSOR_INIT;
  int32_t read_only = -1;
  ASSERT_EQ(producer.Read(&view, &read_only), "");
  EXPECT_EQ(view.data, producer.data.data());
  EXPECT_EQ(view.shape, producer.shape.data());
  EXPECT_EQ(view.numel, 6);
  EXPECT_EQ(view.ndim, 2);
  EXPECT_EQ(view.dtype, DS_DTYPE_F32);
  EXPECT_EQ(read_only, 0);

  producer.managed.version = {1, 9};  // a minor version adds, it does not change
  producer.managed.dl_tensor.strides = nullptr;
  producer.managed.dl_tensor.byte_offset = 8;
  producer.shape = {2, 2};
  producer.managed.dl_tensor.shape = producer.shape.data();
  ASSERT_EQ(producer.Read(&view), "");
  EXPECT_EQ(view.data, producer.data.data() + 2);

  producer.managed.dl_tensor.ndim = 0;  // a scalar
  producer.managed.dl_tensor.shape = nullptr;
  ASSERT_EQ(producer.Read(&view), "");
  EXPECT_EQ(view.numel, 1);
  EXPECT_EQ(view.shape, nullptr);
}

TEST(DlpackC, TheOldStructIsReadToo) {
  Producer producer;
  DLManagedTensor old = {producer.managed.dl_tensor, nullptr, nullptr};
  ds_tensor view = DS_TENSOR_INIT;
  ASSERT_EQ(ds_tensor_from_dlpack_unversioned(&old, &view), DS_OK);
  EXPECT_EQ(view.data, producer.data.data());
  old.dl_tensor.device = {2, 0};
  EXPECT_EQ(ds_tensor_from_dlpack_unversioned(&old, &view), DS_ERR_UNSUPPORTED);
  EXPECT_EQ(TakeMessage(), "device is CUDA (2), expected CPU (1)");
}

TEST(DlpackC, StridesThatAreNotRowMajorAreRefused) {
  Producer producer;
  producer.strides = {1, 2};
  EXPECT_EQ(producer.Read(), "unsupported: strides[1] is 2, expected 1: row-major and dense");
  producer.strides = {4, 1};
  EXPECT_EQ(producer.Read(), "unsupported: strides[0] is 4, expected 3: row-major and dense");
  producer.shape = {1, 3};  // never stepped over
  producer.strides = {77, 1};
  EXPECT_EQ(producer.Read(), "");
  producer.shape = {0, 3};  // nor is anything here
  producer.strides = {5, 5};
  EXPECT_EQ(producer.Read(), "");
}

TEST(DlpackC, WhatItIsNotMadeForIsRefusedByName) {
  Producer producer;
  dl::Tensor& tensor = producer.managed.dl_tensor;
  const dl::Tensor right = tensor;
  producer.managed.version = {2, 0};
  EXPECT_EQ(producer.Read(), "unsupported: DLPack version is 2.0, expected 1.x");
  producer.managed.version = {1, 1};
  tensor.device = {10, 0};
  EXPECT_EQ(producer.Read(), "unsupported: device is ROCm (10), expected CPU (1)");
  tensor.device = {99, 0};
  EXPECT_EQ(producer.Read(), "unsupported: device is unknown (99), expected CPU (1)");
  tensor = right;
  tensor.dtype = {dl::kComplex, 64, 1};
  EXPECT_EQ(producer.Read(),
            "unsupported: element type is complex (5) of 64 bits, 1 lanes, expected f32 or another "
            "ds_dtype, 1 lane");
  tensor.dtype = {dl::kFloat, 32, 4};
  EXPECT_EQ(producer.Read(),
            "unsupported: element type is float (2) of 32 bits, 4 lanes, expected f32 or another "
            "ds_dtype, 1 lane");
  tensor = right;
  tensor.byte_offset = 2;
  EXPECT_EQ(producer.Read(), "unsupported: data with byte_offset 2 is not aligned to 4 bytes");
  tensor = right;
  tensor.data = nullptr;
  EXPECT_EQ(producer.Read(), "invalid argument: data is NULL, and the shape has 6 elements");
  tensor = right;
  tensor.shape = nullptr;
  EXPECT_EQ(producer.Read(), "invalid argument: shape is NULL, ndim is 2");
  tensor.ndim = -1;
  EXPECT_EQ(producer.Read(), "invalid argument: ndim is -1, less than 0");
  tensor = right;
  producer.shape = {int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_EQ(producer.Read(),
            "invalid argument: shape[1] is 1099511627776: below 0, or 2^63 elements in all");
  producer.shape = {-1, 3};
  EXPECT_EQ(producer.Read(), "invalid argument: shape[0] is -1: below 0, or 2^63 elements in all");
}

TEST(DlpackC, AReadOnlyArrayIsToldAsOne) {
  Producer producer;
  producer.managed.flags = dl::kReadOnly;
  int32_t read_only = -1;
  EXPECT_EQ(producer.Read(nullptr, &read_only), "");
  EXPECT_EQ(read_only, 1);
  EXPECT_EQ(producer.Read(),
            "invalid argument: the array is read-only, and out_read_only, which says so, is NULL");
}

TEST(DlpackC, EveryDTypeGoesThereAndBack) {
  alignas(16) char data[16] = {};
  const int64_t shape[1] = {1};
  int known = 0;
  for (int value = 1; value < 64; ++value) {
    const auto dtype = static_cast<ds_dtype>(value);
    size_t bytes = 0;
    if (ds_dtype_get_bytes(dtype, &bytes) != DS_OK) continue;
    ++known;
    const ds_tensor view = {data, shape, 1, dtype, 1};
    DLManagedTensorVersioned* managed = nullptr;
    ASSERT_EQ(ds_tensor_to_dlpack(&view, 0, &managed), DS_OK) << ds_dtype_string(dtype);
    EXPECT_EQ(managed->dl_tensor.dtype.bits, bytes * 8) << ds_dtype_string(dtype);
    ds_tensor back = DS_TENSOR_INIT;
    ASSERT_EQ(ds_tensor_from_dlpack(managed, &back, nullptr), DS_OK) << ds_dtype_string(dtype);
    EXPECT_EQ(back.dtype, dtype);
    managed->deleter(managed);
  }
  EXPECT_EQ(known, 10);
}

TEST(DlpackC, AnArrayOnLoanHasAShapeOfItsOwn) {
  float data[6] = {0, 1, 2, 3, 4, 5};
  int64_t shape[3] = {1, 2, 3};
  const ds_tensor view = {data, shape, 6, DS_DTYPE_F32, 3};
  DLManagedTensorVersioned* managed = nullptr;
  ASSERT_EQ(ds_tensor_to_dlpack(&view, 1, &managed), DS_OK) << ds_error_peek_message();
  std::memset(shape, 0, sizeof shape);
  EXPECT_EQ(managed->version.major, 1u);
  EXPECT_EQ(managed->version.minor, 1u);
  EXPECT_EQ(managed->flags, dl::kReadOnly);
  const dl::Tensor& tensor = managed->dl_tensor;
  EXPECT_EQ(tensor.data, data);
  EXPECT_EQ(tensor.device.type, dl::kCpu);
  EXPECT_EQ(tensor.byte_offset, 0u);
  ASSERT_EQ(tensor.ndim, 3);
  EXPECT_EQ(std::vector(tensor.shape, tensor.shape + 3), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(std::vector(tensor.strides, tensor.strides + 3), (std::vector<int64_t>{6, 3, 1}));
  std::thread([&] { managed->deleter(managed); }).join();  // the consumer's thread
}

TEST(DlpackC, AViewThatContradictsItselfIsRefused) {
  float data[6] = {};
  int64_t shape[2] = {2, 3};
  const auto why = [&](const ds_tensor& view) -> std::string {
    DLManagedTensorVersioned* managed = nullptr;
    EXPECT_EQ(ds_tensor_to_dlpack(&view, 0, &managed), DS_ERR_INVALID_ARGUMENT);
    EXPECT_EQ(managed, nullptr);
    return TakeMessage();
  };
  EXPECT_EQ(why({data, shape, 5, DS_DTYPE_F32, 2}), "tensor.numel is 5, its shape has 6");
  EXPECT_EQ(why({data, shape, 6, static_cast<ds_dtype>(77), 2}),
            "tensor.dtype is 77, which is no dtype");
  EXPECT_EQ(why({data, nullptr, 6, DS_DTYPE_F32, 2}), "tensor.shape is NULL, ndim is 2");
  EXPECT_EQ(why({nullptr, shape, 6, DS_DTYPE_F32, 2}),
            "tensor.data is NULL, and the shape has 6 elements");
  EXPECT_EQ(why({data, shape, 6, DS_DTYPE_F32, -2}), "tensor.ndim is -2, less than 0");
}

// Weights go out and gradients come in without a copy between.
TEST(DlpackC, CarriesAStepOfTraining) {
  ds_engine* engine = nullptr;
  ASSERT_EQ(ds_engine_create(nullptr, &engine), DS_OK);
  const int64_t shape[2] = {2, 3};
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  desc.name = "w";
  desc.shape = shape;
  desc.ndim = 2;
  ds_param* w = nullptr;
  ASSERT_EQ(ds_param_register(engine, &desc, &w), DS_OK);
  ds_tensor weights = DS_TENSOR_INIT;
  ASSERT_EQ(ds_param_acquire(w, &weights), DS_OK);
  DLManagedTensorVersioned* lent = nullptr;
  ASSERT_EQ(ds_tensor_to_dlpack(&weights, 1, &lent), DS_OK);
  EXPECT_EQ(lent->dl_tensor.data, weights.data);
  lent->deleter(lent);
  ASSERT_EQ(ds_param_release(w), DS_OK);

  Producer producer;
  ds_tensor grad = DS_TENSOR_INIT;
  ASSERT_EQ(producer.Read(&grad), "");
  ASSERT_EQ(ds_param_add_grad(w, grad.dtype, grad.data, grad.numel), DS_OK);
  ASSERT_EQ(ds_engine_step(engine, nullptr), DS_OK);

  producer.managed.dl_tensor.dtype = {dl::kInt, 32, 1};  // an array, but no gradient
  ASSERT_EQ(producer.Read(&grad), "");
  EXPECT_EQ(ds_param_add_grad(w, grad.dtype, grad.data, grad.numel), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(TakeMessage(), "w: gradient dtype is 7, not f32 (1), bf16 (2) or f16 (3)");
  ds_engine_destroy(engine);
}

}  // namespace
