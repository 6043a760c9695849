#include "lora_flags.h"

#include "base/file.h"

namespace ds::tool {
namespace {

// Flags may repeat what the folder says.
Status Agree(const LoraFlags& flags, const model::LoraConfig& is) {
  const auto size = is.CommonSize();
  const auto agree = [&](const char* flag, const auto& asked, const auto& has) -> Status {
    if (!asked.has_value() || (size.has_value() && *asked == has)) return {};
    return InvalidArgument("{} is {}, but the adapters in {} have {}", flag, *asked, flags.folder,
                           size.has_value() ? fmt::format("{}", has) : "each its own");
  };
  const model::LoraSize has = size.value_or(model::LoraSize());
  DS_TRY(agree("--lora-rank", flags.rank, has.rank));
  return agree("--lora-alpha", flags.alpha, has.alpha);
}

}  // namespace

void AddBaseFlag(CLI::App& app, std::string& base) {
  app.add_option("--base", base,
                 "Of adapters: the folder of the model that they were trained beside; default: "
                 "where their adapter_config.json says");
}

void AddLoraFlags(CLI::App& train, LoraFlags& flags) {
  AddBaseFlag(train, flags.base);
  train.add_option("--lora-rank", flags.rank,
                   "Freeze the model of --model and train adapters of this rank beside it (LoRA); "
                   "they are saved as PEFT has them");
  train.add_option("--lora-alpha", flags.alpha,
                   "Adapters count alpha / rank times; default: twice the rank");
  train.add_option(
      "--lora-targets", flags.targets,
      "Products that get one, with commas, or all-linear; default: queries and values");
  train.add_option("--lora-dropout", flags.dropout,
                   "Share of what they read that training drops; default: 0, and of adapters that "
                   "are there what their adapter_config.json says");
  train.add_flag("--lora-rslora", flags.rank_stabilised,
                 "Count them alpha / sqrt(rank) times instead");
  train.add_flag("--lora-embeddings", flags.embeddings,
                 "Train the embedding and the head whole beside them; so is done where --special "
                 "adds a token");
}

Status FindAdapters(std::string& model, LoraFlags& flags) {
  if (model.empty() && flags.base.empty()) return {};
  if (model.empty()) {
    return InvalidArgument("--base {} goes with --model DIR, a folder of adapters", flags.base);
  }
  DS_ASSIGN(flags.place, infer::FindModel(model, flags.base));
  if (flags.place->adapters.has_value()) flags.folder = model;
  model = flags.place->base;
  return {};
}

Result<std::optional<model::LoraConfig>> PlanLora(const std::string& model,
                                                  const LoraFlags& flags) {
  if (!flags.folder.empty()) {
    model::LoraConfig config = *flags.place->lora();
    config.dropout = flags.dropout.value_or(config.dropout);
    DS_TRY(config.Check());
    DS_TRY(Agree(flags, config));
    if (flags.rank_stabilised && !config.rank_stabilised) {
      return InvalidArgument("--lora-rslora, but the adapters in {} count alpha / rank times",
                             flags.folder);
    }
    if (flags.embeddings && !(config.embedding && config.head)) {
      return InvalidArgument("--lora-embeddings, but the adapters in {} have not both whole",
                             flags.folder);
    }
    if (flags.targets.has_value() && model::SplitTargets(*flags.targets) != config.targets) {
      return InvalidArgument("--lora-targets is {}, but the adapters in {} are of {}",
                             *flags.targets, flags.folder, model::ProductsText(config));
    }
    return std::optional(config);
  }
  if (!flags.rank.has_value()) {
    for (const auto& [asked, flag] : {std::pair(flags.alpha.has_value(), "--lora-alpha"),
                                      {flags.targets.has_value(), "--lora-targets"},
                                      {flags.dropout.has_value(), "--lora-dropout"},
                                      {flags.rank_stabilised, "--lora-rslora"},
                                      {flags.embeddings, "--lora-embeddings"}}) {
      if (asked) return InvalidArgument("{} goes with --lora-rank", flag);
    }
    return std::optional<model::LoraConfig>();
  }
  if (model.empty()) {
    return InvalidArgument("--lora-rank {} goes with --model DIR: adapters stand beside a model",
                           *flags.rank);
  }
  model::LoraConfig config{
      .size = {*flags.rank, flags.alpha.value_or(2.0 * static_cast<double>(*flags.rank))},
      .rank_stabilised = flags.rank_stabilised};
  if (flags.targets.has_value()) config.targets = model::SplitTargets(*flags.targets);
  config.embedding = config.head = flags.embeddings;
  config.dropout = flags.dropout.value_or(0);
  config.base = AbsolutePath(model);
  DS_TRY(config.Check());
  return std::optional(config);
}

}  // namespace ds::tool
