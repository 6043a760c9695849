// What the families that descend from Llama have in common.
#pragma once

#include "model/family.h"

namespace ds::model {

// Names, layers, and the reader and writer below.
Family LlamaLike(const char* model_type, const char* architecture);
Status ReadLlamaLike(const Json& json, DecoderConfig& config);
// sliding_window, of which the reference's default is 4096 and null is none.
Status ReadWindowSize(const Json& json, DecoderConfig& config);
// layer_types, which of the layers that window is for; where there is none, nothing is known of it.
Status ReadLayerTypes(const Json& json, DecoderConfig& config);
Json LayerTypes(const DecoderConfig& config);
void WriteLlamaLike(const DecoderConfig& config, Json& json);

}  // namespace ds::model
