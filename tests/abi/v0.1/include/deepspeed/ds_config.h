/**
 * @file ds_config.h
 * ds_config.json without an engine: what a config comes to, and which keys there are.
 */
#ifndef DEEPSPEED_DS_CONFIG_H
#define DEEPSPEED_DS_CONFIG_H

#include "ds_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What ds_engine_create() would make of a config on `world_size` ranks: every key that has an
 *  effect, with its value, as ds_config.json text; the caller disposes it. `json` is the text, with
 *  comments if you like; NULL or empty: all defaults. thread: any; collective: no.
 *  @return DS_ERR_CONFIG: a key that is unknown, contradictory or not supported, by name. */
DS_API DS_NODISCARD ds_status ds_config_resolve(const char *json, int32_t world_size,
                                                ds_buffer *out_json);
/** A JSON Schema (2020-12) of the configs that this release accepts, with a description of every
 *  key, for editors and checkers; the caller disposes it. thread: any; collective: no. */
DS_API DS_NODISCARD ds_status ds_config_schema(ds_buffer *out_json);
/** Every key that has a default, with it, as ds_config.json text; the caller disposes it. A
 *  default may be null: none. thread: any; collective: no. */
DS_API DS_NODISCARD ds_status ds_config_defaults(ds_buffer *out_json);

#ifdef __cplusplus
}
#endif
#endif
