// dspeed merge
#include <cstdio>
#include <filesystem>

#include "command.h"
#include "infer/adapter_folder.h"
#include "infer/generation_config.h"
#include "infer/merger.h"
#include "infer/model_folder.h"
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
  const DType dtype = loaded->weights->dtype();
  std::error_code none;
  const bool was_there = std::filesystem::exists(flags.out, none);
  DS_TRY(CheckWritable(flags.out));
  DS_ASSIGN(const auto lock, FolderLock::TakeOut(flags.out));
  DS_TRY(CheckModelOut(flags.out, flags.overwrite));  // another merge may have ended since
  DS_TRY(ClearLeftovers(flags.out));
  const auto beside = [&](FolderChange& change) -> Status {
    RemoveReplaced(change, flags.out, loaded->tokenizer.get(), /*from=*/"");
    if (loaded->tokenizer != nullptr) DS_TRY(loaded->tokenizer->AddTo(change, flags.out));
    return infer::AddGenerationConfig(change, flags.out, place.generation, loaded->config);
  };
  const Status saved =
      infer::SaveMerged(flags.out, place, *loaded->model, dtype, loaded->pool, beside);
  if (!saved.ok() && !was_there) std::filesystem::remove(flags.out, none);  // if nothing is in it
  DS_TRY(saved);
  Say("merged    {} -> {}, {}\n", flags.model.folder, flags.out, DTypeName(dtype));
  if (loaded->no_tokenizer.code() == Code::kUnsupported) {
    Say("tokenizer not written: {}\n", loaded->no_tokenizer.message());
  }
  return {};
}

}  // namespace

void AddMerge(CLI::App& app, Chosen& chosen) {
  const auto flags = std::make_shared<MergeFlags>();
  flags->model.reads_text = flags->model.reads_weights = false;
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
