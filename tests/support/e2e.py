"""For end-to-end tests: runs the program in a folder of its own and reads what it left."""
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import tempfile
import unittest

DSPEED = os.environ["DSPEED"]

# Small enough that a run takes a fraction of a second, with sizes that divide badly.
MODEL = ["--layers", "2", "--heads", "2", "--width", "24", "--context", "20"]


def text(length=6000, seed=1):
    """Words with some order in them, so that there is something to learn."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefgh", k=draw.randint(2, 6))) for _ in range(40)]
    out = ""
    while len(out) < length:
        out += words[min(draw.randint(0, 39), draw.randint(0, 39))] + " "
    return out[:length]


class DspeedTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ds_e2e_")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.data = self.folder / "text.txt"
        self.data.write_text(text())

    def dspeed(self, *arguments, env=None, timeout=120, stdin=None, into=None, most_bytes=None):
        """The finished process. A hang is a failure. `into`: a file that gets what it prints;
        `most_bytes`: no file can grow beyond them, as on a full disk."""
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        with open(into or os.devnull, "w", encoding="utf-8") as file:
            return subprocess.run([DSPEED, *map(str, arguments)], stderr=subprocess.PIPE,
                                  stdout=file if into else subprocess.PIPE, text=True,
                                  errors="replace", timeout=timeout, cwd=self.folder, input=stdin,
                                  stdin=None if stdin is not None else subprocess.DEVNULL,
                                  restore_signals=most_bytes is None,
                                  preexec_fn=limit if most_bytes is not None else None,
                                  env={**os.environ, **(env or {})})

    def ok(self, *arguments):
        done = self.dspeed(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def train(self, name, *arguments, config=None, env=None, model=MODEL):
        """Trains to the end with the log and the model in `name`, anew or with --resume; the process."""
        if "--resume" not in arguments:
            arguments = ("--overwrite", *arguments)
        done = self.dspeed(*self.train_arguments(name, *arguments, config=config, model=model),
                           env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def train_arguments(self, name, *arguments, config=None, model=MODEL):
        extra = []
        if config is not None:
            path = self.folder / f"{name}.json"
            path.write_text(config if isinstance(config, str) else json.dumps(config))
            extra = ["--config", path]
        folder = self.folder / name
        return ["train", "--data", self.data, *model, "--log", folder / "log", "--save",
                folder / "model", *extra, *arguments]

    def log(self, name):
        lines = (self.folder / name / "log" / "log.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def curve(self, name):
        """All of the log that must be alike, as text: bits count."""
        keys = ("step", "loss", "grad_norm", "lr", "tokens", "val_loss")
        return [json.dumps({k: row[k] for k in keys if k in row}) for row in self.log(name)]

    def weights(self, name):
        return (self.folder / name / "model" / "model.safetensors").read_bytes()

    def assert_refused(self, process, *parts):
        """One clear line that names the parts, and a status that says so."""
        self.assertNotEqual(process.returncode, 0, process.stdout)
        self.assertGreater(process.returncode, 0, "died of a signal")
        lines = process.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, process.stderr)
        for part in parts:
            self.assertIn(str(part), lines[0])
