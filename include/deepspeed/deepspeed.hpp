/**
 * @file deepspeed.hpp
 * The C ABI as C++11 objects: handles that destroy themselves, failures as exceptions. Header only;
 * adds nothing to the library and no C++ type to its boundary.
 */
#ifndef DEEPSPEED_DEEPSPEED_HPP
#define DEEPSPEED_DEEPSPEED_HPP

#include <deepspeed/deepspeed.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace deepspeed {

/** A ds_status that is not DS_OK, with the message of the thread it happened on. */
class Error : public std::runtime_error {
 public:
  Error(ds_status status, const std::string &message)
      : std::runtime_error(message), status_(status) {}
  ds_status status() const noexcept { return status_; }
  ds_status_scope scope() const noexcept { return ds_status_get_scope(status_); }

 private:
  ds_status status_;
};

/** Throws Error unless ok. */
inline void Check(ds_status status) {
  if (status == DS_OK) return;
  const std::unique_ptr<ds_error, void (*)(ds_error *)> error(ds_error_take(), ds_error_destroy);
  throw Error(status, error ? ds_error_get_message(error.get()) : ds_status_string(status));
}

/** Text that the library gave away, freed. */
inline std::string TakeText(ds_buffer *buffer) {
  const std::unique_ptr<ds_buffer, void (*)(ds_buffer *)> owner(buffer, ds_buffer_dispose);
  return std::string(buffer->data, buffer->size);
}

/** What a ds_config.json comes to on `world_size` ranks (ds_config_resolve). */
inline std::string ResolveConfig(const std::string &json, int world_size) {
  ds_buffer buffer = DS_BUFFER_INIT;
  Check(ds_config_resolve(json.c_str(), world_size, &buffer));
  return TakeText(&buffer);
}
/** A JSON Schema of ds_config.json (ds_config_schema). */
inline std::string ConfigSchema() {
  ds_buffer buffer = DS_BUFFER_INIT;
  Check(ds_config_schema(&buffer));
  return TakeText(&buffer);
}
/** Every key that has a default, with it (ds_config_defaults). */
inline std::string ConfigDefaults() {
  ds_buffer buffer = DS_BUFFER_INIT;
  Check(ds_config_defaults(&buffer));
  return TakeText(&buffer);
}

/** The ds_dtype of a C++ type. */
template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> : std::integral_constant<ds_dtype, DS_DTYPE_F32> {};
template <>
struct DTypeOf<double> : std::integral_constant<ds_dtype, DS_DTYPE_F64> {};
template <>
struct DTypeOf<int8_t> : std::integral_constant<ds_dtype, DS_DTYPE_I8> {};
template <>
struct DTypeOf<int16_t> : std::integral_constant<ds_dtype, DS_DTYPE_I16> {};
template <>
struct DTypeOf<int32_t> : std::integral_constant<ds_dtype, DS_DTYPE_I32> {};
template <>
struct DTypeOf<int64_t> : std::integral_constant<ds_dtype, DS_DTYPE_I64> {};
template <>
struct DTypeOf<uint8_t> : std::integral_constant<ds_dtype, DS_DTYPE_U8> {};
template <>
struct DTypeOf<bool> : std::integral_constant<ds_dtype, DS_DTYPE_BOOL> {};

/** A collective that was begun (ds_ticket). Its end waits for it, so that arrays which were
 * declared before it outlive it; an error is told by Wait() and Done() alone. Ends before its Comm.
 */
class Ticket {
 public:
  Ticket() = default;
  Ticket(ds_comm *comm, ds_ticket ticket) : comm_(comm), ticket_(ticket) {}
  Ticket(Ticket &&other) noexcept : comm_(other.comm_), ticket_(other.ticket_) {
    other.comm_ = nullptr;
  }
  Ticket &operator=(Ticket &&other) noexcept {
    if (this == &other) return *this;
    Finish();
    comm_ = other.comm_;
    ticket_ = other.ticket_;
    other.comm_ = nullptr;
    return *this;
  }
  Ticket(const Ticket &) = delete;
  Ticket &operator=(const Ticket &) = delete;
  ~Ticket() { Finish(); }

  /** Returns when it is done; throws what went wrong. Nothing where nothing was begun. */
  void Wait() const {
    if (comm_ != nullptr) Check(ds_comm_wait(comm_, ticket_));
  }
  bool Done() const {
    int32_t done = 1;
    if (comm_ != nullptr) Check(ds_comm_test(comm_, ticket_, &done));
    return done != 0;
  }

 private:
  void Finish() noexcept {
    if (comm_ != nullptr && ds_comm_wait(comm_, ticket_) != DS_OK) {
      ds_error_destroy(ds_error_take());
    }
    comm_ = nullptr;
  }

  ds_comm *comm_ = nullptr;
  ds_ticket ticket_ = 0;
};

/** A rank's membership of a group (ds_comm). Owned, or borrowed from RunThreads. Collectives come
 *  in two forms: X() waits, BeginX() gives a Ticket. */
class Comm {
 public:
  static Comm Self() {
    ds_comm *comm = nullptr;
    Check(ds_comm_create_self(nullptr, &comm));
    return Comm(comm, true);
  }
  static Comm Borrow(ds_comm *comm) { return Comm(comm, false); }

  int rank() const {
    int32_t rank = 0;
    Check(ds_comm_get_rank(comm_.get(), &rank));
    return rank;
  }
  int size() const {
    int32_t size = 0;
    Check(ds_comm_get_size(comm_.get(), &size));
    return size;
  }
  void Barrier() { Check(ds_comm_barrier(comm_.get())); }
  /** The sum over the ranks. */
  double AllReduce(double value) {
    Check(ds_comm_all_reduce(comm_.get(), &value, 1));
    return value;
  }

  /** data[0..count) becomes `scale` times the sum over the ranks. */
  template <typename T>
  void AllReduce(T *data, size_t count, double scale = 1) {
    Check(ds_comm_all_reduce_typed(comm_.get(), DTypeOf<T>::value, scale, data, count, nullptr));
  }
  template <typename T>
  Ticket BeginAllReduce(T *data, size_t count, double scale = 1) {
    return Begin([&](ds_ticket *out) {
      return ds_comm_all_reduce_typed(comm_.get(), DTypeOf<T>::value, scale, data, count, out);
    });
  }
  /** recv[0..count) becomes this rank's part of it; `send` has count elements for each rank. */
  template <typename T>
  void ReduceScatter(const T *send, T *recv, size_t count, double scale = 1) {
    Check(
        ds_comm_reduce_scatter(comm_.get(), DTypeOf<T>::value, scale, send, recv, count, nullptr));
  }
  template <typename T>
  Ticket BeginReduceScatter(const T *send, T *recv, size_t count, double scale = 1) {
    return Begin([&](ds_ticket *out) {
      return ds_comm_reduce_scatter(comm_.get(), DTypeOf<T>::value, scale, send, recv, count, out);
    });
  }
  /** send[0..count) of every rank, one behind the other, lands in recv. */
  template <typename T>
  void AllGather(const T *send, T *recv, size_t count) {
    Check(ds_comm_all_gather(comm_.get(), DTypeOf<T>::value, send, recv, count, nullptr));
  }
  template <typename T>
  Ticket BeginAllGather(const T *send, T *recv, size_t count) {
    return Begin([&](ds_ticket *out) {
      return ds_comm_all_gather(comm_.get(), DTypeOf<T>::value, send, recv, count, out);
    });
  }
  template <typename T>
  void Broadcast(T *data, size_t count, int root) {
    Check(ds_comm_broadcast(comm_.get(), DTypeOf<T>::value, root, data, count, nullptr));
  }
  template <typename T>
  Ticket BeginBroadcast(T *data, size_t count, int root) {
    return Begin([&](ds_ticket *out) {
      return ds_comm_broadcast(comm_.get(), DTypeOf<T>::value, root, data, count, out);
    });
  }
  /** `count` elements to and from each rank. */
  template <typename T>
  void AllToAll(const T *send, T *recv, size_t count) {
    Check(ds_comm_all_to_all(comm_.get(), DTypeOf<T>::value, send, recv, count, nullptr));
  }
  template <typename T>
  Ticket BeginAllToAll(const T *send, T *recv, size_t count) {
    return Begin([&](ds_ticket *out) {
      return ds_comm_all_to_all(comm_.get(), DTypeOf<T>::value, send, recv, count, out);
    });
  }
  /** counts[r] elements to rank r, and what the others send to this one, which it must know. */
  template <typename T>
  std::vector<T> AllToAllV(const std::vector<T> &send, const std::vector<size_t> &send_counts,
                           const std::vector<size_t> &recv_counts) {
    size_t sends = 0, receives = 0;
    for (const size_t count : send_counts) sends += count;
    for (const size_t count : recv_counts) receives += count;
    const auto ranks = static_cast<size_t>(size());
    if (send_counts.size() != ranks || recv_counts.size() != ranks || sends != send.size()) {
      throw Error(DS_ERR_INVALID_ARGUMENT, "AllToAllV: " + std::to_string(send_counts.size()) +
                                               " and " + std::to_string(recv_counts.size()) +
                                               " counts for " + std::to_string(ranks) + " ranks, " +
                                               std::to_string(sends) + " elements of " +
                                               std::to_string(send.size()));
    }
    std::vector<T> recv(receives);
    Check(ds_comm_all_to_all_v(comm_.get(), DTypeOf<T>::value, send.data(), send_counts.data(),
                               recv.data(), recv_counts.data(), nullptr));
    return recv;
  }
  template <typename T>
  void Send(const T *data, size_t count, int to) {
    Check(ds_comm_send(comm_.get(), DTypeOf<T>::value, to, data, count, nullptr));
  }
  template <typename T>
  Ticket BeginSend(const T *data, size_t count, int to) {
    return Begin([&](ds_ticket *out) {
      return ds_comm_send(comm_.get(), DTypeOf<T>::value, to, data, count, out);
    });
  }
  template <typename T>
  void Recv(T *data, size_t count, int from) {
    Check(ds_comm_recv(comm_.get(), DTypeOf<T>::value, from, data, count, nullptr));
  }
  template <typename T>
  Ticket BeginRecv(T *data, size_t count, int from) {
    return Begin([&](ds_ticket *out) {
      return ds_comm_recv(comm_.get(), DTypeOf<T>::value, from, data, count, out);
    });
  }
  /** The ranks of one color as a group, ordered by key; get() is NULL where the color is below 0.
   */
  Comm Split(int color, int key = 0) {
    ds_comm *part = nullptr;
    Check(ds_comm_split(comm_.get(), color, key, &part));
    return Comm(part, true);
  }
  ds_comm *get() const noexcept { return comm_.get(); }

 private:
  template <typename Call>
  Ticket Begin(const Call &call) {
    ds_ticket ticket = 0;
    Check(call(&ticket));
    return Ticket(comm_.get(), ticket);
  }
  static void Keep(ds_comm *) noexcept {}
  Comm(ds_comm *comm, bool owned) : comm_(comm, owned ? ds_comm_destroy : Keep) {}
  std::unique_ptr<ds_comm, void (*)(ds_comm *)> comm_;
};

/** Runs body(Comm &) once per rank, each on a thread; throws the first failure. */
template <typename Body>
void RunThreads(int world_size, Body &&body, const ds_comm_options *options = nullptr) {
  using Function = typename std::remove_reference<Body>::type;  // also a const one, or a plain one
  struct Call {
    static ds_status Rank(ds_comm *comm, void *user_data) noexcept {
      try {
        Comm borrowed = Comm::Borrow(comm);
        (**static_cast<Function **>(user_data))(borrowed);
        return DS_OK;
      } catch (const Error &error) {
        ds_error_set(error.status(), error.what());
        return error.status();
      } catch (const std::exception &error) {
        ds_error_set(DS_ERR_CALLBACK, error.what());
      } catch (...) {
        ds_error_set(DS_ERR_CALLBACK, "unknown exception");
      }
      return DS_ERR_CALLBACK;
    }
  };
  Function *function = &body;
  Check(ds_comm_run_threads(world_size, options, Call::Rank, &function));
}

/** A parameter. Belongs to its Engine. */
class Param {
 public:
  explicit Param(ds_param *param = nullptr) : param_(param) {}

  /** Full weights for as long as it lives. */
  class Weights {
   public:
    explicit Weights(ds_param *param) : param_(param), view_() {
      Check(ds_param_acquire(param, &view_));
    }
    Weights(Weights &&other) noexcept : param_(other.param_), view_(other.view_) {
      other.param_ = nullptr;
    }
    Weights(const Weights &) = delete;
    Weights &operator=(const Weights &) = delete;
    Weights &operator=(Weights &&) = delete;
    ~Weights() {
      if (param_ != nullptr && ds_param_release(param_) != DS_OK) ds_error_destroy(ds_error_take());
    }
    const ds_tensor &view() const noexcept { return view_; }
    /** fp32 engines. */
    const float *data() const noexcept { return static_cast<const float *>(view_.data); }

   private:
    ds_param *param_;
    ds_tensor view_;
  };

  Weights Acquire() const { return Weights(param_); }
  void AddGrad(const float *grad, int64_t numel) {
    Check(ds_param_add_grad(param_, DS_DTYPE_F32, grad, numel));
  }
  void AddGrad(const std::vector<float> &grad) {
    AddGrad(grad.data(), static_cast<int64_t>(grad.size()));
  }
  int64_t numel() const {
    int64_t numel = 0;
    Check(ds_param_get_numel(param_, &numel));
    return numel;
  }
  /** The fp32 master weights. Collective. */
  std::vector<float> Read() const {
    std::vector<float> values(static_cast<size_t>(numel()));
    Check(ds_param_read(param_, values.data(), static_cast<int64_t>(values.size())));
    return values;
  }
  ds_param *get() const noexcept { return param_; }

 private:
  ds_param *param_;
};

/** A training engine (ds_engine). */
class Engine {
 public:
  explicit Engine(const std::string &config_json, const Comm *comm = nullptr)
      : engine_(nullptr, ds_engine_destroy) {
    ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
    options.config_json = config_json.c_str();
    options.comm = comm == nullptr ? nullptr : comm->get();
    ds_engine *engine = nullptr;
    Check(ds_engine_create(&options, &engine));
    engine_.reset(engine);
  }

  /** What of ds_param_desc `more` sets beside name, shape, init and unit is kept. */
  Param Register(const std::string &name, const std::vector<int64_t> &shape,
                 const std::vector<float> &init, const char *unit = nullptr,
                 const ds_param_desc &more = DS_PARAM_DESC_INIT) {
    int64_t numel = 1;
    for (const int64_t extent : shape) numel *= extent;
    if (!init.empty() && numel != static_cast<int64_t>(init.size())) {
      throw Error(DS_ERR_INVALID_ARGUMENT, name + ": " + std::to_string(init.size()) +
                                               " initial values for " + std::to_string(numel) +
                                               " elements");
    }
    ds_param_desc desc = more;
    desc.name = name.c_str();
    desc.shape = shape.data();
    desc.ndim = static_cast<int32_t>(shape.size());
    desc.init = init.empty() ? nullptr : init.data();
    desc.unit = unit;
    ds_param *param = nullptr;
    Check(ds_param_register(engine_.get(), &desc, &param));
    return Param(param);
  }
  void Seal() { Check(ds_engine_seal(engine_.get())); }
  ds_step_info Step() {
    ds_step_info info = DS_STEP_INFO_INIT;
    Check(ds_engine_step(engine_.get(), &info));
    return info;
  }
  int32_t AddGroup(const std::string &params_json) {
    int32_t group = 0;
    Check(ds_engine_add_group(engine_.get(), params_json.c_str(), &group));
    return group;
  }
  double loss_scale() const {
    double scale = 1;
    Check(ds_engine_get_loss_scale(engine_.get(), &scale));
    return scale;
  }
  ds_engine_stats stats() const {
    ds_engine_stats stats = DS_ENGINE_STATS_INIT;
    Check(ds_engine_get_stats(engine_.get(), &stats));
    return stats;
  }
  ds_memory_info memory() const {
    ds_memory_info info = DS_MEMORY_INFO_INIT;
    Check(ds_engine_get_memory(engine_.get(), &info));
    return info;
  }
  std::string config() const {
    ds_buffer buffer = DS_BUFFER_INIT;
    Check(ds_engine_get_config(engine_.get(), &buffer));
    return TakeText(&buffer);
  }
  ds_engine *get() const noexcept { return engine_.get(); }

 private:
  std::unique_ptr<ds_engine, void (*)(ds_engine *)> engine_;
};

/** An optimizer on buffers of the caller (ds_optim). */
class Optimizer {
 public:
  /** `config_json` is {"type": ..., "params": {...}}; threads 0: one a core. */
  explicit Optimizer(const std::string &config_json, int threads = 0)
      : optim_(nullptr, ds_optim_destroy) {
    ds_optim_options options = DS_OPTIM_OPTIONS_INIT;
    options.config_json = config_json.c_str();
    options.threads = threads;
    ds_optim *optim = nullptr;
    Check(ds_optim_create(&options, &optim));
    optim_.reset(optim);
  }

  double lr(bool is_matrix = false) const {
    double lr = 0;
    Check(ds_optim_get_lr(optim_.get(), is_matrix, &lr));
    return lr;
  }
  /** The names of the state arrays that Step() wants, in their order. */
  std::vector<std::string> state_names(bool is_matrix = false) const {
    int32_t count = 0;
    Check(ds_optim_get_state_count(optim_.get(), is_matrix, &count));
    std::vector<std::string> names;
    for (int32_t i = 0; i < count; ++i) {
      const char *name = nullptr;
      Check(ds_optim_get_state_name(optim_.get(), is_matrix, i, &name));
      names.push_back(name);
    }
    return names;
  }
  void Step(const ds_optim_span &span, int64_t step, double lr, double grad_scale = 1.0) {
    Check(ds_optim_step(optim_.get(), &span, step, lr, grad_scale));
  }
  void SetBetas(double beta1, double beta2) {
    Check(ds_optim_set_betas(optim_.get(), beta1, beta2));
  }
  double Norm(const std::vector<float> &values) {
    double norm = 0;
    Check(ds_optim_get_norm(optim_.get(), DS_DTYPE_F32, values.data(),
                            static_cast<int64_t>(values.size()), &norm));
    return norm;
  }
  ds_optim *get() const noexcept { return optim_.get(); }

 private:
  std::unique_ptr<ds_optim, void (*)(ds_optim *)> optim_;
};

/** A learning-rate schedule (ds_lr_schedule). */
class LrSchedule {
 public:
  LrSchedule(const std::string &config_json, double base_lr)
      : schedule_(nullptr, ds_lr_schedule_destroy) {
    ds_lr_schedule *schedule = nullptr;
    Check(ds_lr_schedule_create(config_json.c_str(), base_lr, &schedule));
    schedule_.reset(schedule);
  }

  /** The learning rate of the update after `applied` updates. */
  double lr(int64_t applied) const {
    double lr = 0;
    Check(ds_lr_schedule_get_lr(schedule_.get(), applied, &lr));
    return lr;
  }
  /** Gives `optimizer` the betas of that update, where the schedule cycles them. */
  void CycleBetas(Optimizer &optimizer, int64_t applied) const {
    int32_t cycles = 0;
    double beta1 = 0, beta2 = 0;
    Check(ds_lr_schedule_get_betas(schedule_.get(), applied, &cycles, &beta1, &beta2));
    if (cycles != 0) optimizer.SetBetas(beta1, beta2);
  }
  ds_lr_schedule *get() const noexcept { return schedule_.get(); }

 private:
  std::unique_ptr<ds_lr_schedule, void (*)(ds_lr_schedule *)> schedule_;
};

/** A loss scale (ds_loss_scaler). */
class LossScaler {
 public:
  explicit LossScaler(const ds_loss_scaler_options *options = nullptr)
      : scaler_(nullptr, ds_loss_scaler_destroy) {
    ds_loss_scaler *scaler = nullptr;
    Check(ds_loss_scaler_create(options, &scaler));
    scaler_.reset(scaler);
  }

  double scale() const {
    double scale = 0;
    Check(ds_loss_scaler_get_scale(scaler_.get(), &scale));
    return scale;
  }
  void Update(bool overflowed) { Check(ds_loss_scaler_update(scaler_.get(), overflowed)); }
  ds_loss_scaler_state state() const {
    ds_loss_scaler_state state = DS_LOSS_SCALER_STATE_INIT;
    Check(ds_loss_scaler_get_state(scaler_.get(), &state));
    return state;
  }
  void SetState(const ds_loss_scaler_state &state) {
    Check(ds_loss_scaler_set_state(scaler_.get(), &state));
  }
  ds_loss_scaler *get() const noexcept { return scaler_.get(); }

 private:
  std::unique_ptr<ds_loss_scaler, void (*)(ds_loss_scaler *)> scaler_;
};

}  // namespace deepspeed

#include <deepspeed/model.hpp>

#endif
