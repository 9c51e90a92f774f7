"""One file per request in progress, for `tidegate agent` to count: app = Marks(app, "/run/tidegate/marks/shop")."""
import contextlib, itertools, os  # noqa: E401
SEQ = itertools.count()


class Marks:
    def __init__(self, app, directory=None):
        self.app, self.dir, self.me = app, directory or os.environ.get("TIDEGATE_MARKS"), (0, "")
        self.mark("w")  # the application has been imported: this process can serve

    def mark(self, kind, seq=""):
        with contextlib.suppress(Exception):  # a mark never fails a request
            if self.me[0] != os.getpid():  # at first, and after a fork
                os.makedirs(self.dir, exist_ok=True)
                with open("/proc/self/stat", "rb") as f:  # "pid (name) state ...": the start time is field 22
                    self.me = os.getpid(), "%d.%d" % (os.getpid(), int(f.read().rpartition(b")")[2].split()[19]))
            path = os.path.join(self.dir, "%s.%s%s" % (kind, self.me[1], seq))
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            return os.getpid(), path

    def unmark(self, mark):
        with contextlib.suppress(Exception):
            if mark[0] == os.getpid():  # a child that the request forked leaves its parent's mark
                os.unlink(mark[1])

    def __call__(self, environ, start_response):
        with contextlib.ExitStack() as stack:
            stack.callback(self.unmark, self.mark("b", ".%d" % next(SEQ)))
            body = self.app(environ, start_response)
            stack.callback(getattr(body, "close", bool))  # runs before unmark, which runs even when this raises
            return Body(body, stack.pop_all())


class Body:
    def __init__(self, body, stack):
        self.body, self.close = body, stack.close

    def __iter__(self):
        return iter(self.body)
