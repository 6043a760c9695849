#!/usr/bin/env python3
"""dspeed train --trace: a file that trace viewers read, with what each rank did when."""
import json
import os
import sys

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

STEPS = 4


class Trace(e2e.DspeedTest):
    def trace(self, *arguments, config=None, ranks=2):
        path = self.folder / "trace.json"
        self.train("run", "--steps", STEPS, "--eval-every", STEPS, "--ranks", ranks, "--trace", path,
                   *arguments, config=config)
        told = json.loads(path.read_text())
        names, spans = {}, []
        for event in told["traceEvents"]:
            if event["ph"] == "M":
                names[event["name"], event["pid"], event["tid"]] = event["args"]["name"]
            else:
                self.assertEqual(event["ph"], "X")
                self.assertGreaterEqual(event["ts"], 0)
                self.assertGreaterEqual(event["dur"], 0)
                spans.append(event)
        self.assertEqual({pid for _, pid, _ in names}, set(range(ranks)))
        return told, names, spans

    def check_nesting(self, spans):
        """On a lane, two spans lie apart or one in the other."""
        lanes = {}
        for span in spans:
            lanes.setdefault((span["pid"], span["tid"]), []).append(span)
        for lane in lanes.values():
            lane.sort(key=lambda s: (s["ts"], -s["dur"]))
            open_ends = []
            for span in lane:
                while open_ends and open_ends[-1] <= span["ts"] + 0.0015:
                    open_ends.pop()
                end = span["ts"] + span["dur"]
                if open_ends:
                    self.assertLessEqual(end, open_ends[-1] + 0.0015, span)
                open_ends.append(end)

    def test_every_stage(self):
        for stage, overlap in ((0, False), (2, True), (3, False), (3, True)):
            config = {"zero_optimization": {"stage": stage, "overlap_comm": overlap}}
            told, names, spans = self.trace(config=config)
            self.assertEqual(told["otherData"]["dropped"], 0)
            self.check_nesting(spans)
            for rank in (0, 1):
                mine = [s for s in spans if s["pid"] == rank]
                count = {}
                for span in mine:
                    count[span["name"]] = count.get(span["name"], 0) + 1
                    lane = names["thread_name", rank, span["tid"]]
                    self.assertEqual(lane.split(":")[0], span["cat"])
                for n in range(1, STEPS + 1):
                    self.assertEqual(count[f"step {n}"], 1)
                self.assertEqual(count["validation"], 1)
                for unit in ("embed", "h.0", "h.1"):
                    self.assertEqual(count["backward " + unit], STEPS)
                    self.assertGreater(count["forward " + unit], STEPS)  # and the validation
                self.assertEqual(count["loss and its gradient"], STEPS)
                self.assertEqual(count["optimizer step"], STEPS)
                self.assertEqual(count["gradient norm"], STEPS)
                self.assertEqual(count["reduce_scatter h.0"], STEPS)
                if stage == 3:
                    self.assertGreaterEqual(count["all_gather h.0"], STEPS)
                    lanes = {names["thread_name", rank, s["tid"]] for s in mine
                             if s["name"] == "all_gather h.0"}
                    self.assertEqual(lanes, {"comm: gathers" if overlap else "comm"})
                gathered = [s for s in mine if s["name"] == "reduce_scatter h.1"]
                self.assertGreater(gathered[0]["args"]["bytes"], 24 * 96 * 4)
            # A step holds what it consists of.
            step = next(s for s in spans if s["name"] == "step 2" and s["pid"] == 0)
            inside = [s["name"] for s in spans if s["pid"] == 0 and s["ts"] >= step["ts"]
                      and s["ts"] + s["dur"] <= step["ts"] + step["dur"]]
            self.assertEqual(inside.count("optimizer step"), 1)

    def test_bounded(self):
        told, _, spans = self.trace("--trace-events", 7, ranks=1)
        self.assertEqual(len(spans), 7)
        self.assertGreater(told["otherData"]["dropped"], 20)
        self.assertIn("save", {s["name"] for s in spans})  # the last ones

    def test_of_a_run_that_fails(self):
        path = self.folder / "trace.json"
        run = ["train", "--data", self.data, *e2e.MODEL, "--steps", 50, "--trace", path]
        self.assert_refused(self.dspeed(*run, "--lr", 1e30), "the loss is")
        spans = [e["name"] for e in json.loads(path.read_text())["traceEvents"]]
        self.assertIn("step 1", spans)
        self.assertNotIn("step 50", spans)
        path.unlink()
        self.assert_refused(self.dspeed(*run, "--context", 100000), "100001")  # before it began
        self.assertFalse(path.exists())

    def test_refusals(self):
        base = ["train", "--data", self.data, *e2e.MODEL, "--steps", 50]
        missing = self.folder / "no/trace.json"
        self.assert_refused(self.dspeed(*base, "--trace", missing), missing)
        self.assert_refused(self.dspeed(*base, "--trace", self.folder), self.folder, "directory")
        self.assert_refused(self.dspeed(*base, "--trace", "/dev/null"), "/dev/null")
        self.assert_refused(self.dspeed(*base, "--trace-events", 0), "--trace-events", 0)
        self.assert_refused(self.dspeed(*base, "--trace-events", 9), "--trace-events 9", "--trace FILE")
        path = self.folder / "trace.json"
        self.assert_refused(self.dspeed(*base, "--trace", path, most_bytes=2000), path, "too large")
        self.assertEqual(list(self.folder.glob("trace.json*")), [])


if __name__ == "__main__":
    e2e.unittest.main()
