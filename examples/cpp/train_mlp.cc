// The C++ twin of examples/c/train_mlp.c: ZeRO-3 over 4 ranks, then 1 rank; the loss falls, and is
// the same.
//
//     c++ train_mlp.cc $(pkg-config --cflags --libs deepspeed) && ./a.out
#include <array>
#include <cmath>
#include <cstdio>
#include <deepspeed/deepspeed.hpp>
#include <vector>

namespace {

constexpr int kSamples = 64, kHidden = 32, kSteps = 300;
enum { W1, B1, W2, B2, kParams };

const char kConfig[] = R"({
  "train_batch_size": 64,
  "zero_optimization": {"stage": 3},
  "optimizer": {"type": "AdamW", "params": {"lr": 0.01}}
})";

using Weights = std::array<const float*, kParams>;
using Grads = std::array<std::vector<float>, kParams>;

// y = W2 tanh(W1 x + b1) + b2 against sin(3x): mean squared error of this rank's samples.
double ForwardBackward(const Weights& w, Grads& g, int rank, int size) {
  const int count = kSamples / size;
  double loss = 0;
  for (int s = rank * count; s < (rank + 1) * count; ++s) {
    const float x = 2.0f * static_cast<float>(s) / (kSamples - 1) - 1.0f;
    std::array<float, kHidden> hidden;
    float y = w[B2][0];
    for (int h = 0; h < kHidden; ++h) {
      hidden[h] = std::tanh(w[W1][h] * x + w[B1][h]);
      y += w[W2][h] * hidden[h];
    }
    const float error = y - static_cast<float>(std::sin(3.0 * x));
    loss += static_cast<double>(error) * error / count;
    const float dy = 2.0f * error / static_cast<float>(count);
    g[B2][0] += dy;
    for (int h = 0; h < kHidden; ++h) {
      const float dh = dy * w[W2][h] * (1.0f - hidden[h] * hidden[h]);
      g[W2][h] += dy * hidden[h];
      g[W1][h] += dh * x;
      g[B1][h] += dh;
    }
  }
  return loss;
}

struct Losses {
  double first = 0, last = 0;
};

Losses Train(deepspeed::Comm& comm) {
  deepspeed::Engine engine(kConfig, &comm);
  const std::array<std::vector<int64_t>, kParams> shapes = {
      {{kHidden, 1}, {kHidden, 1}, {1, kHidden}, {1, 1}}};
  const std::array<const char*, kParams> names = {"w1", "b1", "w2", "b2"};
  std::vector<deepspeed::Param> params;
  for (int p = 0; p < kParams; ++p) {
    std::vector<float> init(static_cast<size_t>(shapes[p][0] * shapes[p][1]));
    for (size_t h = 0; h < init.size(); ++h) {
      init[h] = 0.3f * std::sin(static_cast<float>(17 * h + 5 * p + 1));
    }
    params.push_back(engine.Register(names[p], shapes[p], init));
  }

  Losses losses;
  for (int step = 0; step < kSteps; ++step) {
    Grads grads;
    double loss = 0;
    {
      std::vector<deepspeed::Param::Weights> held;  // released at the end of the block
      Weights weights;
      for (int p = 0; p < kParams; ++p) {
        held.push_back(params[p].Acquire());
        weights[p] = held.back().data();
        grads[p].assign(static_cast<size_t>(params[p].numel()), 0.0f);
      }
      loss = ForwardBackward(weights, grads, comm.rank(), comm.size()) / comm.size();
    }
    for (int p = kParams - 1; p >= 0; --p) params[p].AddGrad(grads[p]);
    engine.Step();
    losses.last = comm.AllReduce(loss);
    if (step == 0) losses.first = losses.last;
  }
  return losses;
}

}  // namespace

int main() {
  try {
    std::array<Losses, 2> losses;
    const std::array<int, 2> worlds = {4, 1};
    for (size_t i = 0; i < worlds.size(); ++i) {
      deepspeed::RunThreads(worlds[i], [&](deepspeed::Comm& comm) {
        const Losses mine = Train(comm);
        if (comm.rank() == 0) losses[i] = mine;
      });
      std::printf("%d rank(s), ZeRO-3: loss %.6f -> %.6f\n", worlds[i], losses[i].first,
                  losses[i].last);
    }
    const bool falls = losses[0].last < 0.1 * losses[0].first;
    const bool same = std::abs(losses[0].last - losses[1].last) < 1e-4;
    return falls && same ? 0 : 1;
  } catch (const deepspeed::Error& error) {
    std::fprintf(stderr, "train_mlp: %s\n", error.what());
    return 1;
  }
}
