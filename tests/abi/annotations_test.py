#!/usr/bin/env python3
"""tools/annotations.py names the function whose contract lacks something or contradicts it."""
import pathlib
import shutil
import sys
import tempfile

from toolbox import ROOT, public_headers
import annotations

# (file, what is taken out, what is put in, what is then said)
CASES = (
    ("ds_comm.h", "thread: driver; collective: yes; blocking: yes. */\nDS_API DS_NODISCARD ds_status "
     "ds_comm_barrier", "*/\nDS_API DS_NODISCARD ds_status ds_comm_barrier",
     "ds_comm_barrier: no contract"),
    ("ds_engine.h", "thread: driver; collective: yes; blocking: yes.\n *  @return",
     "thread: driver; collective: yes.\n *  @return",
     "ds_engine_seal: does not say 'blocking:'"),
    ("ds_engine.h", "thread: driver; collective: yes; blocking: yes.\n *  @return",
     "thread: engine; collective: yes; blocking: yes.\n *  @return",
     "ds_engine_seal: thread is 'engine', not any or driver"),
    ("ds_engine.h", "thread: driver; collective: yes; blocking: yes.\n *  @return",
     "thread: driver; collective: yes; blocking: yes; waits: yes.\n *  @return",
     "ds_engine_seal: unknown key 'waits'"),
    ("ds_engine.h", ";\n *  owns: out_engine -> ds_engine_destroy.", ".",
     "ds_engine_create: out_engine hands memory over"),
    ("ds_engine.h", "out_engine -> ds_engine_destroy", "out_engine -> ds_engine_free",
     "ds_engine_create: owns: 'ds_engine_free' is no exported function"),
    ("ds_engine.h", "; takes: engine. */", ". */",
     "ds_engine_destroy: ends an object: 'takes:' must say which"),
    ("ds_engine.h", "null: out_info", "null: info",
     "ds_engine_step: 'info' is no pointer among its parameters"),
    ("ds_param.h", "borrows: out_name from param", "borrows: out_name",
     "ds_param_get_name: borrows: 'out_name' is not"),
    ("ds_param.h", "borrows: out_view from param until", "borrows: out_view from engine until",
     "ds_param_begin_grad: borrows: 'engine' is none of its parameters"),
    ("ds_hook.h", "; keeps: hook.user_data -> hook.destroy", "",
     "ds_engine_add_grad_hook: hook has a destroy callback"),
    ("ds_base.h", "; borrows: return from error. */", ". */",
     "ds_error_get_message: returns a pointer"),
)


def complaint(folder):
    try:
        annotations.read(public_headers.read(folder), folder)
    except SystemExit as end:
        return str(end)
    return "nothing"


def main():
    failed = 0
    for name, old, new, expected in CASES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary) / "deepspeed"
            shutil.copytree(ROOT / "include" / "deepspeed", folder)
            text = (folder / name).read_text()
            if text.count(old) < 1:
                print(f"{name} has no '{old}' any more: mend this test")
                failed += 1
                continue
            (folder / name).write_text(text.replace(old, new, 1))
            said = complaint(folder)
            if f"{name}: {expected}" not in said:
                print(f"expected '{expected}', got '{said}'")
                failed += 1
    print(f"{len(CASES)} broken contracts, {failed} not told as they should be")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
