#!/usr/bin/env python3
"""What a run leaves for those who watch it: CSV, event files, pictures, and the progress line."""
import csv
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree

sys.path.insert(0, os.environ["SOURCE_DIR"] + "/tests/support")
import e2e  # noqa: E402

EVENTS = "events.out.tfevents.0.dspeed"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(blob):
    """Payloads of a TFRecord file, both checksums of each checked."""
    at = 0
    while at < len(blob):
        head = blob[at:at + 8]
        length, = struct.unpack("<Q", head)
        payload = blob[at + 12:at + 12 + length]
        assert len(payload) == length, "a record is cut"
        assert struct.unpack("<I", blob[at + 8:at + 12]) == (masked(head),)
        assert struct.unpack("<I", blob[at + 12 + length:at + 16 + length]) == (masked(payload),)
        at += 16 + length
        yield payload


def fields(message):
    """(field, value) of a protobuf message; nested ones as bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(kind) or varint()
            value = message[at:at + size]
            at += size
        yield key >> 3, value


def events(path):
    """[(step, {tag: value})] of an event file."""
    found = []
    for number, payload in enumerate(records(path.read_bytes())):
        event = dict(fields(payload))
        assert struct.unpack("<d", event[1])[0] > 1.7e9
        if number == 0:
            assert event[3] == b"brain.Event:2"
            continue
        scalars = {}
        for field, value in fields(event[5]):
            assert field == 1
            parts = dict(fields(value))
            scalars[parts[1].decode()], = struct.unpack("<f", parts[2])
        found.append((event.get(2, 0), scalars))
    return found


class Logs(e2e.DspeedTest):
    def rows(self, name):
        with open(self.folder / name / "log/log.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def check_agreement(self, name):
        """The three forms of a log say the same."""
        lines, rows = self.log(name), self.rows(name)
        curves = events(self.folder / name / "log" / EVENTS)
        self.assertEqual([int(row["step"]) for row in rows], [line["step"] for line in lines])
        self.assertEqual([step for step, _ in curves], [line["samples"] for line in lines])
        memory = None
        for line, row, (_, scalars) in zip(lines, rows, curves):
            memory = line.get("memory", memory)
            for key in ("loss", "grad_norm", "lr"):
                self.assertEqual(float(row[key]), line[key])
            self.assertEqual(row["val_loss"], str(line.get("val_loss", "")))
            self.assertEqual({k: int(row[k + "_bytes"]) for k in memory}, memory)
            self.assertGreater(float(row["tokens_per_second"]), 0)
            self.assertAlmostEqual(scalars["Train/Samples/train_loss"], line["loss"], 5)
            self.assertAlmostEqual(scalars["Train/Samples/lr"], line["lr"], 8)
            self.assertEqual("Train/Samples/val_loss" in scalars, "val_loss" in line)
            self.assertEqual(scalars["Train/Samples/loss_scale"], line.get("loss_scale", 1))
        return lines

    def test_forms_agree(self):
        done = self.train("run", "--steps", 12, "--eval-every", 5, "--ranks", 2,
                          config={"zero_optimization": {"stage": 3}})
        lines = self.check_agreement("run")
        self.assertEqual([line["samples"] for line in lines], [16 * n for n in range(1, 13)])
        for line in lines:
            self.assertLessEqual(sum(line["phase_ms"].values()), line["ms"] + 0.01)
        self.assertGreater(lines[0]["memory"]["windows"], 0)
        self.assertRegex(done.stdout, r"process peak +\d+\.\d MiB")

    def test_resume_cuts_all_of_them(self):
        fp16 = {"fp16": {"enabled": True, "initial_scale_power": 12},
                "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2}}}
        self.train("run", "--steps", 4, "--save-every", 4, config=fp16)
        self.train("whole", "--steps", 6, "--eval-every", 1, config=fp16)
        with open(self.folder / "run/log/log.jsonl", "a", encoding="utf-8") as file:
            file.write('{"step": 5, "loss": 9')
        self.train("run", "--steps", 6, "--eval-every", 1, "--resume", config=fp16)
        lines = self.check_agreement("run")
        self.assertEqual(len(lines), 6)
        self.assertEqual(lines[0]["loss_scale"], 4096)
        self.assertEqual(self.curve("run")[-1], self.curve("whole")[-1])
        # Without log.jsonl the others are all there is of these steps.
        log = self.folder / "run/log"
        table, events = ((log / name).read_bytes() for name in ("log.csv", "events.out.tfevents.0.dspeed"))
        (log / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines[:2], *lines[:3], lines[1]]))
        done = self.train("run", "--steps", 8, "--eval-every", 1, "--resume", config=fp16)
        self.assertRegex(done.stdout, "log.jsonl has 3 steps of those before this resume, log.csv 6: .*/before-7\n")
        self.assertEqual((log / "before-7/log.csv").read_bytes(), table)
        self.assertEqual((log / "before-7/events.out.tfevents.0.dspeed").read_bytes(), events)
        self.assertEqual([line["step"] for line in self.check_agreement("run")], [1, 2, 3, 7, 8])
        # A new run into the folder begins them anew.
        self.train("run", "--steps", 2)
        self.assertEqual(len(self.check_agreement("run")), 2)

    def test_logging_changes_no_bit(self):
        monitors = {name: {"enabled": True, "output_path": str(self.folder / name)}
                    for name in ("tensorboard", "csv_monitor")}
        self.train("a", "--steps", 3, config=monitors)
        self.train("b", "--steps", 3, "--trace", self.folder / "trace.json")
        done = self.dspeed("train", "--data", self.data, *e2e.MODEL, "--steps", 3, "--save",
                           self.folder / "c/model")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.weights("a"), self.weights("b"))
        self.assertEqual(self.weights("a"), self.weights("c"))

    def test_pictures(self):
        self.train("run", "--steps", 20, "--eval-every", 5, "--ranks", 2,
                   config={"zero_optimization": {"stage": 3}, "bf16": {"enabled": True}})
        for name, words in (("loss.svg", ["validation", "unigram"]),
                            ("run.svg", ["learning rate", "tokens a second", "step, ms", "MiB",
                                         "moments", "update", "compute"])):
            text = (self.folder / "run/log" / name).read_text()
            self.assert_apart(xml.etree.ElementTree.fromstring(text))
            self.assert_grid(text)
            for word in words:
                self.assertIn(word, text)
            self.assertNotIn("nan", text)
            self.assertNotIn("inf", text.replace("information", ""))

    def test_pictures_of_one_step(self):
        """A line of one point is a dot, an area a bar."""
        self.train("run", "--steps", 1)
        text = (self.folder / "run/log/run.svg").read_text()
        self.assert_grid(text)
        for css in ("train", "lr"):
            self.assertRegex(text, f"<circle [^>]*class='{css}'/>")
        for points in re.findall("<polygon [^>]*points='([^']+)'", text):
            across = [float(point.split(",")[0]) for point in points.split()]
            self.assertGreater(max(across) - min(across), 5)

    def test_pictures_of_a_run_that_fails(self):
        done = self.dspeed("train", "--data", self.data, *e2e.MODEL, "--steps", 200, "--lr", 1e4, "--log",
                           self.folder / "log")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stderr, "the loss is -?(nan|inf)")
        steps = (self.folder / "log/log.jsonl").read_text().count("\n")
        self.assertGreater(steps, 0)
        for picture in ("loss.svg", "run.svg"):
            self.assert_grid((self.folder / "log" / picture).read_text())

    def assert_grid(self, text):
        """The lines of each panel begin at its top and end at its bottom, on ticks one apart."""
        heights = {60: 300, 444: 150, 708: 150} if "learning rate" in text else {48: 360}
        panels = {}
        for x, y in re.findall("<line x1='([0-9.]+)' y1='([0-9.]+)' [^>]*class='grid'/>", text):
            top = max(top for top in heights if top <= float(y))
            panels.setdefault((x, top), []).append(float(y))
        self.assertEqual(len(panels), 5 if "learning rate" in text else 1, panels)
        for (_, top), lines in panels.items():
            self.assertEqual((min(lines), max(lines)), (top, top + heights[top]), lines)
            apart = [below - above for below, above in zip(lines, lines[1:])]
            self.assertLess(max(apart) - min(apart), 0.21)

    def test_pictures_of_a_text_of_any_name(self):
        """A name of a file is bytes; what XML has no characters for is replaced."""
        for number, name in enumerate((b"a\1b&\x1f.txt", b"a\xff\xc3.txt", "größer<\uffff.txt".encode())):
            path = os.fsencode(self.folder) + b"/" + name
            with open(path, "wb") as file:
                file.write(self.data.read_bytes())
            done = subprocess.run([e2e.DSPEED, "train", "--data", path, *e2e.MODEL, "--steps", "2", "--log",
                                   self.folder / f"log{number}"], capture_output=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            for picture in ("loss.svg", "run.svg"):
                svg = xml.etree.ElementTree.parse(self.folder / f"log{number}" / picture)
                self.assertIn("\ufffd", "".join(svg.getroot().itertext()))

    def assert_apart(self, svg):
        """No two words of a row lie on one another, a mark between them included."""
        rows = {}
        for word in svg.iter("{http://www.w3.org/2000/svg}text"):
            if word.get("text-anchor") is None and word.get("class") is not None:
                rows.setdefault(word.get("y").split(".")[0], []).append((float(word.get("x")), word.text))
        self.assertTrue(rows)
        for row in rows.values():
            row.sort()
            for (x, text), (following, _) in zip(row, row[1:]):
                if following - x < 450:  # else of the panel beside it
                    self.assertLess(x + 6.6 * len(text), following - 14, row)

    def test_monitors_of_the_config(self):
        """The effect of tensorboard and csv_monitor: DeepSpeed's files, tags and x axis."""
        folder = self.folder / "curves"
        config = {"fp16": {"enabled": True, "initial_scale_power": 10},
                  "tensorboard": {"enabled": True, "output_path": str(folder), "job_name": "tb"},
                  "csv_monitor": {"enabled": True, "output_path": str(folder)}}
        self.train("run", "--steps", 4, "--eval-every", 2, "--ranks", 2, config=config)
        path, = (folder / "tb").glob("events.out.tfevents.*")
        points = {}
        for step, scalars in events(path):
            for tag, value in scalars.items():
                points.setdefault(tag, []).append((step, value))
        log = self.log("run")
        samples = [16 * n for n in range(1, 5)]
        for tag, key in (("train_loss", "loss"), ("lr", "lr"), ("grad_norm", "grad_norm"),
                         ("loss_scale", "loss_scale")):
            curve = points["Train/Samples/" + tag]
            self.assertEqual([step for step, _ in curve], samples)
            for (_, value), line in zip(curve, log):
                self.assertAlmostEqual(value, line[key], 4)
            with open(folder / f"DeepSpeedJobName/Train_Samples_{tag}.csv", encoding="utf-8") as file:
                rows = list(csv.reader(file))
            self.assertEqual(rows[0], ["step", tag])
            self.assertEqual([[int(s), float(v)] for s, v in rows[1:]],
                             [[s, line[key]] for s, line in zip(samples, log)])
        self.assertEqual([s for s, _ in points["Train/Samples/val_loss"]], [32, 64])

    def test_monitor_off_writes_nothing(self):
        config = {"tensorboard": {"enabled": False, "output_path": str(self.folder / "tb")},
                  "csv_monitor": {"output_path": str(self.folder / "csv")}}
        self.train("run", "--steps", 1, config=config)
        self.assertFalse((self.folder / "tb").exists() or (self.folder / "csv").exists())

    def test_unwritable(self):
        blocker = self.folder / "file"
        blocker.write_text("")
        base = ["train", "--data", self.data, *e2e.MODEL, "--steps", 50]
        for section in ("tensorboard", "csv_monitor"):
            path = self.folder / "ds_config.json"
            path.write_text(json.dumps({section: {"enabled": True, "output_path": str(blocker)}}))
            self.assert_refused(self.dspeed(*base, "--config", path), blocker)
            self.assert_refused(self.dspeed(*base, "--config", path, "--ranks", 2), blocker)
        self.assertEqual(blocker.read_text(), "")

    def test_full_disk(self):
        """The run ends with a line, and what is in the log is whole."""
        done = self.dspeed(*self.train_arguments("run", "--steps", 2000), most_bytes=9000)
        self.assert_refused(done, "log/log.", "cannot write", "too large")
        lines = (self.folder / "run/log/log.jsonl").read_text()
        self.assertTrue(lines.endswith("}\n"))
        self.assertGreater(len(self.log("run")), 5)
        self.assertGreater(len(events(self.folder / "run/log" / EVENTS)), 5)
        self.assertFalse((self.folder / "run/model/model.safetensors").exists())
        # What is printed is said to be lost, and the run is not.
        self.assert_refused(self.dspeed(*self.train_arguments("told", "--steps", 200, "--eval-every", 1),
                                        into="/dev/full"), "No space left")
        self.assertEqual(len(self.log("told")), 200)
        self.assertTrue((self.folder / "told/model/model.safetensors").exists())

    def test_the_log_of_another_run(self):
        """Is not replaced by a slip."""
        base = ["train", "--data", self.data, *e2e.MODEL, "--log", self.folder / "log", "--steps"]
        self.ok(*base, 3)
        before = (self.folder / "log/log.jsonl").read_bytes()
        self.assert_refused(self.dspeed(*base, 1), "--log", self.folder / "log", "3 steps", "--overwrite")
        self.assertEqual((self.folder / "log/log.jsonl").read_bytes(), before)
        self.ok(*base, 1, "--overwrite")
        self.assertEqual((self.folder / "log/log.jsonl").read_text().count("\n"), 1)


class ProgressLine(e2e.DspeedTest):
    def test_a_terminal_that_is_gone(self):
        try:
            ours, theirs = pty.openpty()
        except OSError as error:
            self.skipTest(str(error))
        command = self.train_arguments("run", "--steps", 300)
        with subprocess.Popen([e2e.DSPEED, *map(str, command)], stderr=theirs,
                              stdout=subprocess.DEVNULL) as process:
            os.close(theirs)
            self.assertTrue(os.read(ours, 64))
            os.close(ours)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(len(self.log("run")), 300)

    def watch(self, columns=200, **env):
        """What a terminal of that width gets on stderr."""
        try:
            ours, theirs = pty.openpty()
        except OSError as error:  # a machine may have no terminals to give
            self.skipTest(str(error))
        import fcntl
        import termios
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        arguments = ["train", "--data", self.data, *e2e.MODEL, "--steps", 30, "--eval-every", 15]
        with subprocess.Popen([e2e.DSPEED, *map(str, arguments)], stderr=theirs,
                              stdout=subprocess.DEVNULL, env={**os.environ, **env}) as process:
            os.close(theirs)
            text = b""
            while True:
                try:
                    piece = os.read(ours, 4096)
                except OSError:  # the other end is closed
                    break
                if not piece:
                    break
                text += piece
        os.close(ours)
        self.assertEqual(process.returncode, 0)
        return text.decode()

    def test_fields(self):
        text = self.watch(TERM="xterm", NO_COLOR="")
        for pattern in (r"step 30/30", r"loss \d\.\d{4}", r"norm \d", r"lr \d", r"\d+ tokens/s",
                        r"\d+ % of peak", r"\d+ MiB", r"ETA \d"):
            self.assertRegex(text, pattern)
        self.assertIn("\033[36m", text)
        self.assertIn("step 15  validation loss", text)

    def test_a_dumb_terminal_is_none(self):
        """It shows what would move its cursor as letters."""
        self.assertEqual(self.watch(TERM="dumb"), "")

    def test_no_colour_and_narrow(self):
        text = self.watch(columns=48, TERM="xterm", NO_COLOR="1")
        self.assertNotRegex(text, r"\033\[\d+m")
        for line in re.split(r"[\r\n]+", text):
            self.assertLess(len(line.replace("\033[K", "")), 48)
        self.assertRegex(text, r"step 30/30  loss \d\.\d+.*ETA")


if __name__ == "__main__":
    assert math.isclose(crc32c(b"123456789"), 0xE3069283)
    e2e.unittest.main()
