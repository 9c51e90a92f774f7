# A server of one process and one request at a time on file descriptor 3, as an application of its own would be: it answers as
# app.py does, with the marks in $MARKS, and finishes its request at SIGTERM. $BOOT_MS delays its start, $NOTIFY makes it say
# READY=1, $IGNORE_TERM deaf.
import os, select, signal, socket, sys, time
assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
time.sleep(int(os.environ.get("BOOT_MS", "0")) / 1000)
from wsgiref.simple_server import WSGIServer, WSGIRequestHandler
from app import app as inner
from tidegate_marks import Marks

def whole(environ, start):
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return inner(environ, start)

class Handler(WSGIRequestHandler):
    def log_message(self, *a): pass
    def address_string(self): return "somebody"
    def handle(self):
        self.client_address = ("127.0.0.1", 0)
        super().handle()

listener = socket.socket(fileno=3)
listener.setblocking(False)
server = WSGIServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket, server.server_name, server.server_port = listener, "app", 0
server.setup_environ()
server.set_app(Marks(whole, os.environ["MARKS"]))
stop = []
r, w = os.pipe()
os.set_blocking(w, False)
signal.set_wakeup_fd(w)
signal.signal(signal.SIGTERM, lambda *a: None if "IGNORE_TERM" in os.environ else stop.append(1))
if os.environ.get("NOTIFY"):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect(os.environ["NOTIFY_SOCKET"])
    s.send(b"MAINPID=%d\nREADY=1\n" % os.getpid())
print("worker", os.environ["TIDEGATE_WORKER"], "umask %04o" % os.umask(0o22), "in", os.getcwd(), flush=True)
while not stop:
    ready, _, _ = select.select([listener, r], [], [])
    if r in ready: os.read(r, 100)
    elif not stop: server._handle_request_noblock()
