/**
 * @file deepspeed.h
 * libdeepspeed: sharded training behind a C ABI. Includes every header of this release.
 */
#ifndef DEEPSPEED_DEEPSPEED_H
#define DEEPSPEED_DEEPSPEED_H

#include "ds_base.h"
#include "ds_comm.h"
#include "ds_config.h"
#include "ds_engine.h"
#include "ds_generate.h"
#include "ds_hook.h"
#include "ds_model.h"
#include "ds_optim.h"
#include "ds_param.h"
#include "ds_tensor.h"
#include "ds_tokenizer.h"

#endif
