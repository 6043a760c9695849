// dspeed generate
#include <cstdio>
#include <optional>

#include "command.h"
#include "engine/assembly.h"
#include "infer/generate.h"
#include "infer/model_folder.h"
#include "infer/weight_store.h"
#include "interrupt.h"
#include "model/decoder.h"
#include "text.h"

namespace ds::tool {
namespace {

struct GenerateFlags {
  std::string model, prompt, tokenizer;
  infer::GenerateOptions options;
  int threads = 0;
};

Status Generate(const GenerateFlags& flags) {
  if (flags.threads < 0)
    return InvalidArgument("--threads is {}, expected 0 or more", flags.threads);
  if (flags.prompt.empty()) return InvalidArgument("--prompt is empty, expected at least one byte");
  DS_ASSIGN(const model::HfConfig config, infer::ReadModelConfig(flags.model));
  DS_ASSIGN(const auto tokenizer,
            OpenModelTokenizer(flags.tokenizer, flags.model, config.config.vocab));
  auto prompt = tokenizer->Encode(flags.prompt);
  if (!prompt.ok()) {
    return Error(prompt.status().code(), "--prompt: {}", prompt.status().message());
  }
  prompt->insert(prompt->begin(), tokenizer->before().begin(), tokenizer->before().end());
  TaskPool pool(CpuThreads(flags.threads));
  const auto gemm = CreateGemm();
  device::MemoryAccount account;
  infer::WeightStore weights(config.dtype.value_or(DType::kF32), pool, account);
  const int64_t tokens = std::ssize(*prompt) + flags.options.tokens;
  const model::DecoderOptions options{.cache_tokens = std::min(tokens, config.config.context)};
  DS_ASSIGN(const auto model, model::Decoder::Create(config.config, options, pool, *gemm, account));
  DS_TRY(infer::LoadModel(flags.model, *model, weights));

  CatchInterrupts();
  std::fputs(flags.prompt.c_str(), stdout);
  const Status status = infer::Generate(*model, *prompt, flags.options, [&](int32_t token) {
    std::string text;
    // A vocabulary may be padded beyond its tokenizer: such an id is no text.
    const Status decoded = tokenizer->DecodeOne(token, text);
    if (token == tokenizer->end_of_text()) return false;
    if (decoded.ok() && !tokenizer->IsSpecial(token))
      std::fwrite(text.data(), 1, text.size(), stdout);
    return std::fflush(stdout) == 0 && Interrupted() == 0;
  });
  std::fputc('\n', stdout);
  if (status.ok() && std::ferror(stdout) != 0) return Error(Code::kIo, "cannot write the text");
  return status;
}

}  // namespace

void AddGenerate(CLI::App& app, Chosen& chosen) {
  const auto flags = std::make_shared<GenerateFlags>();
  CLI::App& generate = *app.add_subcommand("generate", "Continue a text with a trained model");
  generate.add_option("--model", flags->model, "A folder that dspeed train --save wrote")
      ->required();
  generate.add_option("--tokenizer", flags->tokenizer,
                      "In place of the one in the folder: as for dspeed train");
  generate.add_option("--prompt", flags->prompt, "The text to continue")->required();
  generate
      .add_option("--tokens", flags->options.tokens,
                  "Tokens to add; a token that ends a text ends it")
      ->capture_default_str();
  generate
      .add_option("--temperature", flags->options.sampling.temperature,
                  "0: always the likeliest token; 1: as the model says")
      ->capture_default_str();
  generate
      .add_option("--top-k", flags->options.sampling.top_k,
                  "Choose among the k likeliest; 0: among all")
      ->capture_default_str();
  generate.add_option("--seed", flags->options.sampling.seed, "The same seed gives the same text")
      ->capture_default_str();
  generate.add_option("--threads", flags->threads, "CPU threads; 0: one a core")
      ->capture_default_str();
  generate.callback([&chosen, flags] { chosen = [flags] { return Generate(*flags); }; });
}

}  // namespace ds::tool
