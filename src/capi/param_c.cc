#include <deepspeed/ds_param.h>

#include <span>
#include <utility>
#include <vector>

#include "capi/guard.h"
#include "capi/handles.h"

using ds::DType;
using ds::Status;
using ds::capi::Guard;
using ds::capi::RefuseInHook;
using ds::capi::Together;

namespace {

// A parameter of an engine that may be called now.
Status CheckParam(const ds_param* param) {
  DS_REQUIRE(param);
  return RefuseInHook(param->engine);
}

ds_tensor View(const ds_param* param, void* data) {
  const ds::ParamSpec& spec = *param->spec;
  return {data, spec.shape.empty() ? nullptr : spec.shape.data(), spec.numel(),
          static_cast<ds_dtype>(param->engine->store().dtype()),
          static_cast<int32_t>(spec.shape.size())};
}

Status ReadDesc(const ds_param_desc* desc, ds::ParamSpec& spec, ds::ParamValues& init) {
  ds_param_desc known = DS_PARAM_DESC_INIT;
  DS_TRY(ds::capi::ReadStruct("desc", desc, known));
  if (known.name == nullptr) return ds::InvalidArgument("desc.name is NULL");
  spec.name = known.name;
  if (known.ndim < 0 || known.ndim > 8) {
    return ds::InvalidArgument("{}: ndim is {}, not in 0..8", spec.name, known.ndim);
  }
  if (known.ndim > 0 && known.shape == nullptr) {
    return ds::InvalidArgument("{}: shape is NULL, ndim is {}", spec.name, known.ndim);
  }
  spec.shape.assign(known.shape, known.shape + known.ndim);
  int64_t numel = 1;
  for (const int64_t extent : spec.shape) {
    if (extent < 0 || __builtin_mul_overflow(numel, extent, &numel) || numel > int64_t{1} << 40) {
      return ds::InvalidArgument("{}: extent {} is below 0, or the shape above 2^40 elements",
                                 spec.name, extent);
    }
  }
  spec.unit = known.unit == nullptr ? "" : known.unit;
  spec.weight_decay = known.no_decay == 0;
  spec.trainable = known.frozen == 0;
  spec.auxiliary = known.auxiliary != 0;
  spec.group = known.group;
  spec.expert_group = known.experts == nullptr ? "" : known.experts;
  if (known.init != nullptr) init = std::span(known.init, static_cast<size_t>(numel));
  return {};
}

// Meets nobody, but the peers register the same and wait for this rank when it is sealed: memory
// that runs out midway leaves the lists of the two different, and is told them as in a collective
// call.
Status Register(ds_engine* engine, const ds_param_desc* desc, ds_param** out_param) {
  ds::ParamSpec spec;
  ds::ParamValues init;
  DS_TRY(ReadDesc(desc, spec, init));
  const ds::ParamId next = engine->store().param_count();
  if (engine->params->size() == static_cast<size_t>(next)) {
    engine->params->emplace_back(engine, next);  // kept for the next one should this one fail
  }
  DS_TRY(engine->store().Register(std::move(spec), std::move(init)).status());
  ds_param& param = (*engine->params)[next];
  param.spec = &engine->store().spec(next);
  *out_param = &param;
  return {};
}

}  // namespace

extern "C" {

ds_status ds_param_register(ds_engine* engine, const ds_param_desc* desc, ds_param** out_param) {
  return Guard([&]() -> Status {
    DS_REQUIRE(engine);
    DS_REQUIRE(desc);
    DS_REQUIRE(out_param);
    DS_TRY(RefuseInHook(engine));
    return Together(engine, [&] { return Register(engine, desc, out_param); });
  });
}

ds_status ds_param_find(ds_engine* engine, const char* name, ds_param** out_param) {
  return Guard([&]() -> Status {
    DS_REQUIRE(engine);
    DS_REQUIRE(name);
    DS_REQUIRE(out_param);
    DS_ASSIGN(const ds::ParamId id, engine->store().Find(name));
    *out_param = &(*engine->params)[id];  // registered in the order of their ids
    return {};
  });
}

ds_status ds_param_get_name(const ds_param* param, const char** out_name) {
  return Guard([&]() -> Status {
    DS_REQUIRE(param);
    DS_REQUIRE(out_name);
    *out_name = param->spec->name.c_str();
    return {};
  });
}

ds_status ds_param_get_numel(const ds_param* param, int64_t* out_numel) {
  return Guard([&]() -> Status {
    DS_REQUIRE(param);
    DS_REQUIRE(out_numel);
    *out_numel = param->spec->numel();
    return {};
  });
}

ds_status ds_param_acquire(ds_param* param, ds_tensor* out_weights) {
  return Guard([&]() -> Status {
    DS_TRY(CheckParam(param));
    DS_REQUIRE(out_weights);
    DS_ASSIGN(const void* weights,
              Together(param->engine, [&] { return param->engine->store().Acquire(param->id); }));
    *out_weights = View(param, const_cast<void*>(weights));
    return {};
  });
}

ds_status ds_param_release(ds_param* param) {
  return Guard([&]() -> Status {
    DS_TRY(CheckParam(param));
    return param->engine->store().Release(param->id);
  });
}

ds_status ds_param_add_grad(ds_param* param, ds_dtype dtype, const void* grad, int64_t numel) {
  return Guard([&]() -> Status {
    DS_TRY(CheckParam(param));
    const ds::ParamSpec& spec = *param->spec;
    if (spec.numel() > 0) DS_REQUIRE(grad);
    if (numel != spec.numel()) {
      return ds::InvalidArgument("{}: gradient has {} elements, registered with {}", spec.name,
                                 numel, spec.numel());
    }
    if (dtype != DS_DTYPE_F32 && dtype != DS_DTYPE_BF16 && dtype != DS_DTYPE_F16) {
      return ds::InvalidArgument("{}: gradient dtype is {}, not f32 ({}), bf16 ({}) or f16 ({})",
                                 spec.name, static_cast<int>(dtype), static_cast<int>(DS_DTYPE_F32),
                                 static_cast<int>(DS_DTYPE_BF16), static_cast<int>(DS_DTYPE_F16));
    }
    return Together(param->engine, [&] {
      return param->engine->store().AddGrad(param->id, static_cast<DType>(dtype), grad);
    });
  });
}

ds_status ds_param_begin_grad(ds_param* param, ds_grad_view* out_view) {
  return Guard([&]() -> Status {
    DS_TRY(CheckParam(param));
    DS_REQUIRE(out_view);
    DS_ASSIGN(const ds::GradView view,
              Together(param->engine, [&] { return param->engine->store().BeginGrad(param->id); }));
    out_view->grad = View(param, view.data);
    out_view->accumulate = view.accumulate ? 1 : 0;
    return {};
  });
}

ds_status ds_param_end_grad(ds_param* param) {
  return Guard([&]() -> Status {
    DS_TRY(CheckParam(param));
    return Together(param->engine, [&] { return param->engine->store().EndGrad(param->id); });
  });
}

ds_status ds_param_read(ds_param* param, float* out_values, int64_t numel) {
  return Guard([&]() -> Status {
    DS_TRY(CheckParam(param));
    if (numel != 0) DS_REQUIRE(out_values);
    const ds::ParamSpec& spec = *param->spec;
    if (numel != spec.numel()) {
      return ds::InvalidArgument("{}: {} values asked for, registered with {}", spec.name, numel,
                                 spec.numel());
    }
    return Together(param->engine, [&] {
      return param->engine->store().ReadMaster(param->id, {out_values, static_cast<size_t>(numel)});
    });
  });
}

}  // extern "C"
