package marks_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/conf/marks"
	"github.com/tidegate/tidegate/tests/harness"
)

// script drives the middleware as a WSGI server does, where a real one would make it hard to look at the right moment;
// agent/gunicorn_test.go has it under gunicorn.
const script = `
import os, sys, threading
from tidegate_marks import Marks

D = sys.argv[1]
def marks(kind="b."): return sorted(n for n in os.listdir(D) if n.startswith(kind))
def start(status, headers, exc_info=None): pass
def check(what, ok):
    if not ok: sys.exit("%s: %s" % (what, os.listdir(D)))
def raises(kind, f):
    try: f()
    except kind: return True
    return False

inside = []
class Stream:
    closed = 0
    def __iter__(self):
        for i in range(3):
            inside.append(len(marks())); yield b"x"
    def close(self): self.closed += 1

# The directory comes from the environment and is made.
D = os.path.join(D, "deep", "er")
os.environ["TIDEGATE_MARKS"] = D
plain = Marks(lambda env, sr: inside.append(len(marks())) or [b"a", b"b"])
stat = open("/proc/self/stat").read().rpartition(")")[2].split()
me = "%d.%s" % (os.getpid(), stat[19])
check("readiness mark", marks("w.") == ["w." + me])

body = plain({}, start)
check("one mark until the body is closed", inside == [1] and len(marks()) == 1 and marks()[0].startswith("b.%s." % me))
check("the body passes through", list(body) == [b"a", b"b"] and len(marks()) == 1)
body.close()
check("unmarked", marks() == [])
body.close()

inside.clear(); stream = Stream()
body = Marks(lambda env, sr: stream, D)({}, start)
check("streamed", list(body) == [b"x"] * 3 and inside == [1, 1, 1])
body.close()
check("the application's close is called once", stream.closed == 1 and marks() == [])

def boom(env, sr): raise RuntimeError("boom")
check("exception passes", raises(RuntimeError, lambda: Marks(boom, D)({}, start)) and marks() == [])
def leave(env, sr): sys.exit(3)
check("exit passes", raises(SystemExit, lambda: Marks(leave, D)({}, start)) and marks() == [])
def refuse(*a): raise OSError("start_response")
check("start_response raises", raises(OSError, lambda: Marks(lambda env, sr: sr("200 OK", []) or [], D)({}, refuse)) and marks() == [])
def half(env, sr):
    yield b"x"
    raise ValueError("half")
body = Marks(half, D)({}, start)
check("iteration raises", raises(ValueError, lambda: list(body)) and len(marks()) == 1)
body.close()
check("unmarked after that", marks() == [])
class Bad(list):
    def close(self): raise KeyError("close")
body = Marks(lambda env, sr: Bad(), D)({}, start)
check("close raises", raises(KeyError, body.close) and marks() == [])
body = Marks(half, D)({}, start)
body.close()
check("never iterated", marks() == [])

# Threads, two middlewares in one process: every request has a mark of its own.
apps, bodies = [Marks(lambda env, sr: [b""], D) for _ in range(2)], []
threads = [threading.Thread(target=lambda a=a: [bodies.append(a({}, start)) for _ in range(200)]) for a in apps * 2]
for t in threads: t.start()
for t in threads: t.join()
check("800 at once", len(marks()) == len(bodies) == 800)
for b in bodies: b.close()
check("none left", marks() == [])

# A fork (preloading): the child marks as itself, and a child of a request leaves its parent's mark alone.
body = plain({}, start)
pid = os.fork()
if pid == 0:
    body.close()
    own = plain({}, start)
    ok = len(marks()) == 2 and any(n.startswith("b.%d." % os.getpid()) for n in marks())
    own.close()
    os._exit(0 if ok else 1)
check("in the child", os.waitpid(pid, 0)[1] == 0)
check("the parent's mark is still there", len(marks()) == 1 and marks()[0].startswith("b.%s." % me))
body.close()

# Without a directory, with one that cannot be made or that has gone, requests go on.
del os.environ["TIDEGATE_MARKS"]
for d in (None, "/proc/no/such", os.path.join(D, "gone"), *sys.argv[2:]):
    app = Marks(lambda env, sr: [b"fine"], d)
    if d and d.startswith(D):
        os.remove(os.path.join(d, "w." + me)); os.rmdir(d)
    body = app({}, start)
    check("no marks", list(body) == [b"fine"])
    body.close()
body = plain({}, start)
for n in marks(): os.remove(os.path.join(D, n))
body.close()
check("nothing is left", marks() == [])
`

func TestMiddleware(t *testing.T) {
	harness.Need(t, "python3")
	rig := harness.ForTest(t)
	if _, err := rig.Write("lib/"+marks.WSGIFile, marks.WSGI); err != nil {
		t.Fatal(err)
	}
	path, err := rig.Write("drive.py", script)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", append([]string{"-W", "error", "-B", path, rig.Path("marks")}, unwritable(t, rig)...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+rig.Path("lib"))
	if err := os.Mkdir(rig.Path("marks"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestMarksAreShort(t *testing.T) {
	for name, text := range map[string]string{marks.WSGIFile: marks.WSGI, marks.PHPFile: marks.PHP} {
		if n := strings.Count(text, "\n"); n >= 40 {
			t.Errorf("%s has %d lines, want fewer than 40: people read it before they load it into their application", name, n)
		}
	}
}
