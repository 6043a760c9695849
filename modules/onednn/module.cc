// oneDNN behind the module interface. One primitive a tile shape, run on the calling thread alone
// with a scratchpad of that thread: the library's own scratchpad is shared, and gives wrong results
// when primitives run from two threads at once.
#include <dlfcn.h>
#include <dnnl.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "kernels/onednn_module.h"

namespace {

thread_local struct Scratch {
  void* data = nullptr;
  size_t bytes = 0;

  void* AtLeast(size_t need) {
    if (need > bytes) {
      std::free(data);
      bytes = (need + (1 << 20)) & ~size_t{4095};
      data = std::aligned_alloc(4096, bytes);
      if (data == nullptr) bytes = 0;
    }
    return data;
  }
  ~Scratch() { std::free(data); }
} scratch;

// One thread for a primitive, whatever the host program set OpenMP to. The runtime comes with
// oneDNN; its setting is per calling thread.
void OneThread() {
  using SetThreads = void (*)(int);
  static const auto set = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  thread_local bool done = false;
  if (!done && set != nullptr) set(1);
  done = true;
}

dnnl_engine_t Engine() {
  static dnnl_engine_t engine = [] {
    dnnl_engine_t created = nullptr;
    return dnnl_engine_create(&created, dnnl_cpu, 0) == dnnl_success ? created : nullptr;
  }();
  return engine;
}

// Generated code of oneDNN 2.6 runs on a stack of its own in the middle of its work space. A signal
// that comes then is given its frame there, over whatever lies below on the heap. So signals wait,
// a tile long, but for those that the code itself would raise.
class SignalsHeld {
 public:
  SignalsHeld() {
    sigset_t all;
    sigfillset(&all);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) {
      sigdelset(&all, own);
    }
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsHeld() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

 private:
  sigset_t before_;
};

dnnl_data_type_t Type(int32_t dtype) { return dtype == 1 ? dnnl_f32 : dnnl_bf16; }

// Where all three matrices are dense a primitive is oneDNN's newer product, which packs B in
// blocks, and else the older one, which reads B where it lies. The newer is the slower with
// matrices that are in no cache (by 3 to 15 %, AVX-512 of a Zen 4), but for a B that is to be
// transposed first. dnnl_sgemm is the older one without the layers of a primitive around it.
bool IsForSgemm(const ds_onednn_shape& s) {
  const bool wide = Type(s.in) == dnnl_f32 && Type(s.out) == dnnl_f32;
  const bool dense = s.lda == s.k && s.ldb == s.k && s.ldc == s.n;
  return wide && !(s.trans_b != 0 && s.trans_a == 0 && dense);
}

struct Product {
  ds_onednn_shape shape;
  dnnl_primitive_t primitive = nullptr;  // null: dnnl_sgemm is what runs it
  dnnl_memory_desc_t a, b, c, pad;
  size_t scratch_bytes = 0;
  size_t index = 0;  // among all products of the process
};

// The memory objects that a thread runs a product with: they cost microseconds to make, as much as
// a small tile takes, and are not to be shared between threads.
struct Bound {
  dnnl_memory_t a = nullptr, b = nullptr, c = nullptr, pad = nullptr;
};

struct BoundProducts {
  std::vector<Bound> of;  // by index
  dnnl_stream_t stream = nullptr;

  ~BoundProducts() {
    for (const Bound& bound : of) {
      for (dnnl_memory_t memory : {bound.a, bound.b, bound.c, bound.pad}) {
        if (memory != nullptr) dnnl_memory_destroy(memory);
      }
    }
    if (stream != nullptr) dnnl_stream_destroy(stream);
  }
};

// Around `data`, made at the first use.
bool Bind(dnnl_memory_t& memory, const dnnl_memory_desc_t& desc, const void* data) {
  void* handle = const_cast<void*>(data);
  if (memory != nullptr) return dnnl_memory_set_data_handle(memory, handle) == dnnl_success;
  return dnnl_memory_create(&memory, &desc, Engine(), handle) == dnnl_success;
}

dnnl_status_t Describe(dnnl_memory_desc_t& desc, int64_t rows, int64_t columns, int64_t stride,
                       bool transposed, int32_t dtype) {
  const dnnl_dims_t dims = {rows, columns};
  const dnnl_dims_t strides = {transposed ? 1 : stride, transposed ? stride : 1};
  return dnnl_memory_desc_init_by_strides(&desc, 2, dims, Type(dtype), strides);
}

const char* Version() {
  static const std::string text = [] {
    const dnnl_version_t* v = dnnl_version();
    return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
           std::to_string(v->patch);
  }();
  return text.c_str();
}

void* Create(const ds_onednn_shape* s, const char** why) {
  OneThread();
  if (Engine() == nullptr) {
    *why = "oneDNN has no CPU engine";
    return nullptr;
  }
  auto* product = new (std::nothrow) Product;
  if (product == nullptr) {
    *why = "out of memory";
    return nullptr;
  }
  product->shape = *s;
  if (IsForSgemm(*s)) return product;
  dnnl_matmul_desc_t desc;
  dnnl_primitive_attr_t attr = nullptr;
  dnnl_post_ops_t post = nullptr;
  dnnl_primitive_desc_t pd = nullptr;
  bool ok =
      Describe(product->a, s->m, s->k, s->lda, s->trans_a != 0, s->in) == dnnl_success &&
      Describe(product->b, s->k, s->n, s->ldb, s->trans_b != 0, s->in) == dnnl_success &&
      Describe(product->c, s->m, s->n, s->ldc, false, s->out) == dnnl_success &&
      dnnl_matmul_desc_init(&desc, &product->a, &product->b, nullptr, &product->c) ==
          dnnl_success &&
      dnnl_primitive_attr_create(&attr) == dnnl_success &&
      dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success;
  if (ok && s->accumulate != 0) {
    ok = dnnl_post_ops_create(&post) == dnnl_success &&
         dnnl_post_ops_append_sum(post, 1.0f) == dnnl_success &&
         dnnl_primitive_attr_set_post_ops(attr, post) == dnnl_success;
  }
  ok = ok && dnnl_primitive_desc_create(&pd, &desc, attr, Engine(), nullptr) == dnnl_success &&
       dnnl_primitive_create(&product->primitive, pd) == dnnl_success;
  if (ok) {
    const dnnl_memory_desc_t* pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    product->scratch_bytes = pad == nullptr ? 0 : dnnl_memory_desc_get_size(pad);
    if (pad != nullptr) product->pad = *pad;
    static std::atomic<size_t> made = 0;
    product->index = made++;
  }
  dnnl_primitive_desc_destroy(pd);
  dnnl_post_ops_destroy(post);
  dnnl_primitive_attr_destroy(attr);
  if (!ok) {
    delete product;
    *why = "oneDNN has no product for this shape";
    return nullptr;
  }
  return product;
}

int32_t Sgemm(const ds_onednn_shape& s, const void* a, const void* b, void* c) {
  const SignalsHeld held;
  return dnnl_sgemm(s.trans_a != 0 ? 'T' : 'N', s.trans_b != 0 ? 'T' : 'N', s.m, s.n, s.k,
                    /*alpha=*/1.0f, static_cast<const float*>(a), s.lda,
                    static_cast<const float*>(b), s.ldb, /*beta=*/s.accumulate != 0 ? 1.0f : 0.0f,
                    static_cast<float*>(c), s.ldc);
}

int32_t Run(void* primitive, const void* a, const void* b, void* c) {
  const auto* product = static_cast<const Product*>(primitive);
  OneThread();
  if (product->primitive == nullptr) return Sgemm(product->shape, a, b, c);
  void* pad = product->scratch_bytes == 0 ? nullptr : scratch.AtLeast(product->scratch_bytes);
  if (product->scratch_bytes != 0 && pad == nullptr) return dnnl_out_of_memory;
  thread_local BoundProducts mine;
  if (mine.stream == nullptr &&
      dnnl_stream_create(&mine.stream, Engine(), dnnl_stream_default_flags) != dnnl_success) {
    return dnnl_runtime_error;
  }
  if (product->index >= mine.of.size()) mine.of.resize(product->index + 1);
  Bound& bound = mine.of[product->index];
  if (!Bind(bound.a, product->a, a) || !Bind(bound.b, product->b, b) ||
      !Bind(bound.c, product->c, c) || (pad != nullptr && !Bind(bound.pad, product->pad, pad))) {
    return dnnl_runtime_error;
  }
  const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, bound.a},
                                  {DNNL_ARG_WEIGHTS, bound.b},
                                  {DNNL_ARG_DST, bound.c},
                                  {DNNL_ARG_SCRATCHPAD, bound.pad}};
  const SignalsHeld held;
  return dnnl_primitive_execute(product->primitive, mine.stream, pad == nullptr ? 3 : 4, args);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const ds_onednn_module* ds_onednn_entry(void) {
  static const ds_onednn_module module = {DS_ONEDNN_MODULE_VERSION, Version, Create, Run};
  return &module;
}
