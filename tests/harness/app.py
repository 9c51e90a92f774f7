# The application of the tests and of the demo, served by real gunicorn workers.
#   /            answers after ?ms=N milliseconds (default: $APP_MS, else 0); $APP_MS_FILE, when it exists, overrides $APP_MS
#   /pid         the worker's pid
#   /status      answers with ?code=N
#   /stream      five chunks, ?ms=N apart
#   /boom        raises
#   /warm        answers 200 with the User-Agent seen; $WARM_CODE_FILE, when it exists, holds another status code
# $APP_GATE_FILE, when it exists, is a dependency that serves one request of all workers at a time, for as many milliseconds as the
# file says. $APP_BOOT_MS delays the import, as an application that starts slowly does. $APP_LOG gets a line "path user-agent".
import fcntl
import os
import time
from urllib.parse import parse_qs

time.sleep(int(os.environ.get("APP_BOOT_MS", "0")) / 1000)


def setting(path, default):
    try:
        with open(path) as f:
            return f.read().strip() or default
    except OSError:
        return default


def gate(path):
    try:
        with open(path) as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            time.sleep(int(f.read() or "0") / 1000)
    except OSError:
        pass


def app(environ, start_response):
    path = environ["PATH_INFO"]
    query = parse_qs(environ.get("QUERY_STRING", ""))
    agent = environ.get("HTTP_USER_AGENT", "")
    if "APP_LOG" in os.environ:
        with open(os.environ["APP_LOG"], "a") as f:
            f.write("%s %s\n" % (path, agent))
    default = setting(os.environ.get("APP_MS_FILE", ""), os.environ.get("APP_MS", "0"))
    ms = int(query.get("ms", [default])[0])
    code, body = "200 OK", b"ok\n"
    if path == "/pid":
        body = b"%d\n" % os.getpid()
    elif path == "/status":
        code = "%s Chosen" % query.get("code", ["200"])[0]
    elif path == "/boom":
        raise RuntimeError("boom")
    elif path == "/warm":
        code = "%s Warm" % setting(os.environ.get("WARM_CODE_FILE", ""), "200")
        body = agent.encode() + b"\n"
    elif path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream(ms)
    if path == "/":
        gate(os.environ.get("APP_GATE_FILE", ""))
    if ms:
        time.sleep(ms / 1000)
    start_response(code, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def stream(ms):
    for _ in range(5):
        time.sleep(ms / 1000)
        yield b"chunk\n"
