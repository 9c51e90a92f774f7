package marks_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/conf/marks"
	"github.com/tidegate/tidegate/tests/harness"
)

// rackScript drives the middleware as a Rack server does, where a real one would make it hard to look at the right moment;
// agent/signals and agent/puma have it under Unicorn and Puma.
const rackScript = `
require "tidegate_marks"

D = [ARGV[0]]
def marks(kind = "b.") = Dir.children(D[0]).select { |n| n.start_with?(kind) }.sort
def check(what, ok) = (abort "#{what}: #{Dir.children(D[0])}" unless ok)
def raises(kind)
  yield
  false
rescue kind
  true
end
def wrap(dir = D[0], &app) = TidegateMarks.new(app, dir)
def get(app, env = {}) = app.call(env)

# The directory comes from the environment and is made.
D[0] = ENV["TIDEGATE_MARKS"] = File.join(D[0], "deep", "er")
inside = []
plain = TidegateMarks.new(->(_env) { inside << marks.size; [200, { "x" => "y" }, %w[a b]] })
me = "#{Process.pid}.#{File.read("/proc/self/stat").rpartition(")")[2].split[19]}"
check "readiness mark", marks("w.") == ["w.#{me}"]

status, headers, body = get(plain)
check "one mark until the body is closed", inside == [1] && marks.size == 1 && marks[0].start_with?("b.#{me}.")
read = []
body.each { |s| read << s }
check "the answer passes through", [status, headers, read] == [200, { "x" => "y" }, %w[a b]] && marks.size == 1
body.close
check "unmarked", marks == []
body.close

Stream = Struct.new(:seen, :closed) do
  def each = 3.times { seen << Dir.children(D[0]).count { |n| n.start_with?("b.") }; yield "x" }
  def close = self.closed += 1
  def to_path = "/etc/hostname"
end
stream = Stream.new([], 0)
body = get(wrap { [200, {}, stream] })[2]
body.each { |_| }
check "streamed", stream.seen == [1, 1, 1] && body.to_path == "/etc/hostname" && !body.respond_to?(:to_str)
body.close
check "the application's close is called once", stream.closed == 1 && marks == []

check "exception passes", raises(RuntimeError) { get(wrap { raise "boom" }) } && marks == []
check "exit passes", raises(SystemExit) { get(wrap { exit 3 }) } && marks == []
check "throw passes", catch(:async) { get(wrap { throw :async, :thrown }) } == :thrown && marks == []
class Bad < Array
  def close = raise(KeyError, "close")
end
body = get(wrap { [200, {}, Bad.new] })[2]
check "close raises", raises(KeyError) { body.close } && marks == []
class Half
  def each = (yield "x"; raise ArgumentError, "half")
end
body = get(wrap { [200, {}, Half.new] })[2]
check "iteration raises", raises(ArgumentError) { body.each { |_| } } && marks.size == 1
body.close
check "unmarked after that", marks == []

# A hijacked connection has no body that anybody closes; it is no request of a worker's any more.
check "full hijack", get(wrap { |env| env["rack.hijack_io"] = 1; [-1, {}, []] }) && marks == []
check "partial hijack", get(wrap { [200, { "rack.hijack" => ->(_io) {} }, []] }) && marks == []

# A thread that is killed (a time limit of the application's) leaves nothing.
thread = Thread.new { get(wrap { sleep }) }
sleep 0.01 until marks.size == 1
thread.kill.join
check "killed thread", marks == []

# Threads, two middlewares in one process: every request has a mark of its own.
apps, bodies, lock = [wrap { [200, {}, []] }, wrap { [200, {}, []] }] * 2, [], Mutex.new
apps.map { |a| Thread.new { 200.times { b = get(a)[2]; lock.synchronize { bodies << b } } } }.each(&:join)
check "800 at once", marks.size == 800 && bodies.size == 800
bodies.each(&:close)
check "none left", marks == []

# A fork (preloading): the child marks as itself, and a child of a request leaves its parent's mark alone.
body = get(plain)[2]
pid = fork do
  body.close
  own = get(plain)[2]
  ok = marks.size == 2 && marks.any? { |n| n.start_with?("b.#{Process.pid}.") }
  own.close
  exit!(ok ? 0 : 1)
end
check "in the child", Process.wait2(pid)[1].success?
check "the parent's mark is still there", marks.size == 1 && marks[0].start_with?("b.#{me}.")
body.close

# Without a directory, with one that cannot be made, that has gone, that is a file or full, requests go on.
ENV.delete("TIDEGATE_MARKS")
gone = File.join(D[0], "gone")
file = File.join(D[0], "file")
File.write(file, "")
[nil, "/proc/no/such", gone, file, *ARGV[1..]].each do |d|
  app = TidegateMarks.new(->(_env) { [200, {}, ["fine"]] }, d)
  if d == gone
    File.unlink(File.join(d, "w.#{me}"))
    Dir.rmdir(d)
  end
  body = get(app)[2]
  read = []
  body.each { |s| read << s }
  check "no marks in #{d}", read == ["fine"]
  body.close
end
File.unlink(file)
body = get(plain)[2]
marks.each { |n| File.unlink(File.join(D[0], n)) }
body.close
check "nothing is left", marks == []
`

func TestRackMiddleware(t *testing.T) {
	harness.Need(t, "ruby")
	if err := exec.Command("ruby", "-e", `require "rack/body_proxy"`).Run(); err != nil {
		t.Skipf("Ruby has no rack: %v", err)
	}
	rig := harness.ForTest(t)
	if _, err := rig.Write("lib/"+marks.RackFile, marks.Rack); err != nil {
		t.Fatal(err)
	}
	path, err := rig.Write("drive.rb", rackScript)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(rig.Path("marks"), 0o755); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-w", "-I", rig.Path("lib"), path, rig.Path("marks")}, unwritable(t, rig)...)
	if out, err := exec.Command("ruby", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// unwritable are folders on a tmpfs that take no mark: one is full, one is read-only. Mounting needs root; without it there
// are none.
func unwritable(t *testing.T, rig *harness.Rig) (dirs []string) {
	t.Helper()
	for name, options := range map[string]string{"full": "nr_inodes=2,size=64k", "read-only": "ro,size=64k"} {
		dir := rig.Path(name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "none", dir).CombinedOutput(); err != nil {
			t.Logf("without a %s tmpfs, because it cannot be mounted here: %v %s", name, err, out)
			return nil
		}
		t.Cleanup(func() {
			if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
				t.Errorf("%v %s", err, out)
			}
		})
		if err := os.WriteFile(dir+"/one", nil, 0o644); (err == nil) != (name == "full") {
			t.Fatalf("the %s tmpfs: %v", name, err)
		}
		if err := os.WriteFile(dir+"/two", nil, 0o644); err == nil {
			t.Fatalf("the tmpfs is not %s", name)
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

func TestRackMiddlewareIsShort(t *testing.T) {
	if n := strings.Count(marks.Rack, "\n"); n >= 40 {
		t.Errorf("the middleware has %d lines, want fewer than 40: people read it before they load it into their application", n)
	}
}
