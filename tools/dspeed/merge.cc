// dspeed merge
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "command.h"
#include "infer/adapter_folder.h"
#include "infer/model_folder.h"
#include "kernels/ops.h"
#include "loaded_model.h"
#include "save_folder.h"

namespace ds::tool {
namespace {

struct MergeFlags {
  ModelAsked model;
  std::string out;
  bool overwrite = false;
};

// What is merged with a broken weight is broken.
Status CheckFinite(LoadedModel& loaded, const std::string& folder) {
  infer::WeightStore& store = *loaded.weights;
  for (const model::Param* param : loaded.model->params()) {
    DS_ASSIGN(const void* const weights, store.Acquire(param->id));
    const double sum = kernels::SumOfSquares(kernels::BestOps(store.dtype()), loaded.pool,
                                             param->spec.numel(), weights);
    DS_TRY(store.Release(param->id));
    if (std::isfinite(sum)) continue;
    return Error(Code::kCorruptData, "{}: tensor {} has values that are not finite as {}", folder,
                 param->spec.name, DTypeName(store.dtype()));
  }
  return {};
}

Status Merge(const MergeFlags& flags) {
  DS_ASSIGN(const infer::ModelPlace place, infer::FindModel(flags.model.folder));
  if (!place.adapters.has_value()) {
    return InvalidArgument("{} has no adapter_config.json: there is nothing to merge",
                           flags.model.folder);
  }
  for (const std::string& in : {flags.model.folder, place.base}) {
    DS_TRY(CheckOther("--out", flags.out, in));
  }
  DS_TRY(CheckModelOut(flags.out, flags.overwrite));
  DS_ASSIGN(const auto loaded, OpenModel(flags.model));
  DS_TRY(CheckFinite(*loaded, place.base));
  DS_TRY(ClearLeftovers(flags.out, loaded->tokenizer.get(), /*resumed=*/false));
  DS_TRY(infer::SaveModel(flags.out, *loaded->model, *loaded->weights, /*write=*/true));
  DS_ASSIGN(const model::HfConfig config, infer::ReadModelConfig(place.base));
  DS_TRY(infer::WriteGenerationConfig(flags.out, place.base, config.config));
  if (loaded->tokenizer != nullptr) DS_TRY(loaded->tokenizer->Save(flags.out));
  fmt::print("merged    {} -> {}, {}\n", flags.model.folder, flags.out,
             DTypeName(loaded->weights->dtype()));
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
