// dspeed merge
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "command.h"
#include "infer/adapter_folder.h"
#include "infer/merger.h"
#include "infer/model_folder.h"
#include "kernels/ops.h"
#include "loaded_model.h"
#include "lora_flags.h"
#include "save_folder.h"

namespace ds::tool {
namespace {

struct MergeFlags {
  ModelAsked model;
  std::string out;
  bool overwrite = false;
};

// A model with one weight that is not finite is broken. Of what would be written: weights and
// adapters may be finite each, and what they add up to not, or not in 16 bits.
Status CheckFinite(LoadedModel& loaded, const std::string& out) {
  infer::WeightStore& store = *loaded.weights;
  const kernels::Ops& ops = kernels::BestOps(store.dtype());
  model::Acquired all(store, loaded.model->params());
  DS_TRY(all.Acquire());
  infer::Merger merger(store.dtype());
  for (const model::Param* param : loaded.model->params()) {
    const void* const weights =
        param->adapter != nullptr ? merger.Merge(*param).data() : param->data;
    if (std::isfinite(kernels::SumOfSquares(ops, loaded.pool, param->spec.numel(), weights))) {
      continue;
    }
    return Error(Code::kCorruptData, "{}: tensor {} would have values that are not finite in {}",
                 out, param->spec.name, DTypeName(store.dtype()));
  }
  return all.Release();
}

Status Merge(const MergeFlags& flags) {
  DS_ASSIGN(const infer::ModelPlace place, infer::FindModel(flags.model.folder, flags.model.base));
  if (!place.adapters.has_value()) {
    return InvalidArgument("{} has no adapter_config.json: there is nothing to merge",
                           flags.model.folder);
  }
  for (const std::string& in : {flags.model.folder, place.base}) {
    DS_TRY(CheckOther("--out", flags.out, in));
  }
  DS_TRY(CheckModelOut(flags.out, flags.overwrite));
  DS_ASSIGN(const auto loaded, OpenModel(flags.model));
  DS_TRY(CheckFinite(*loaded, flags.out));
  DS_TRY(ClearLeftovers(flags.out, loaded->tokenizer.get(), /*from=*/"", /*resumed=*/false));
  DS_TRY(infer::SaveModel(flags.out, *loaded->model, *loaded->weights, /*write=*/true));
  DS_ASSIGN(const model::HfConfig config, infer::ReadModelConfig(place.base));
  DS_TRY(infer::WriteGenerationConfig(flags.out, place.generation, config.config));
  if (loaded->tokenizer != nullptr) DS_TRY(loaded->tokenizer->Save(flags.out));
  fmt::print("merged    {} -> {}, {}\n", flags.model.folder, flags.out,
             DTypeName(loaded->weights->dtype()));
  if (loaded->no_tokenizer.code() == Code::kUnsupported) {
    fmt::print("tokenizer not written: {}\n", loaded->no_tokenizer.message());
  }
  return {};
}

}  // namespace

void AddMerge(CLI::App& app, Chosen& chosen) {
  const auto flags = std::make_shared<MergeFlags>();
  flags->model.reads_text = false;
  CLI::App& merge = *app.add_subcommand(
      "merge", "Make one model of adapters (LoRA) and the model that they were trained beside");
  merge.add_option("--model", flags->model.folder, "Folder of the adapters, as PEFT has it")
      ->required();
  AddBaseFlag(merge, flags->model.base);
  merge.add_option("--out", flags->out, "Folder for the model, as Hugging Face has it")->required();
  merge.add_flag("--overwrite", flags->overwrite,
                 "Replace the model that is in the folder of --out");
  merge.add_option("--dtype", flags->model.dtype,
                   "fp32, bf16 or fp16; default: that of the model below");
  merge.footer(
      "Example\n"
      "  dspeed train --model qwen2 --lora-rank 8 --data book.txt --save adapters\n"
      "  dspeed merge --model adapters --out tuned");
  merge.callback([&chosen, flags] { chosen = [flags] { return Merge(*flags); }; });
}

}  // namespace ds::tool
