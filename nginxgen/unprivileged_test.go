package nginxgen_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/tests/harness"
)

const nobody = 65534

// asRoot stands in for sudo: it runs two command lines, and no other, for whoever may connect to its socket.
type asRoot struct {
	t        *testing.T
	socket   string
	commands map[string][]string
}

func startAsRoot(t *testing.T, socket string, commands map[string][]string) {
	t.Helper()
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o777); err != nil {
		t.Fatal(err)
	}
	r := &asRoot{t, socket, commands}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.serve(c)
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
}

func (r *asRoot) serve(c net.Conn) {
	defer c.Close()
	word, err := bufio.NewReader(c).ReadString('\n')
	argv := r.commands[strings.TrimSpace(word)]
	if err != nil || argv == nil {
		fmt.Fprintf(c, "1\nsorry, %q is not allowed\n", word)
		return
	}
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	status := 0
	if err != nil {
		status = 1
	}
	fmt.Fprintf(c, "%d\n%s", status, out)
}

// askRoot is the other end: what a configured command does. It returns the exit status.
func askRoot(socket, word string) int {
	c, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer c.Close()
	fmt.Fprintln(c, word)
	answer, err := io.ReadAll(c)
	status, out, ok := bytes.Cut(answer, []byte("\n"))
	code, bad := strconv.Atoi(string(status))
	if err != nil || !ok || bad != nil {
		fmt.Printf("no answer: %v %q\n", err, answer)
		return 1
	}
	os.Stdout.Write(out)
	return code
}

// tidegate as nobody, nginx as root: the test and the reload are commands that root allows.
func TestUnprivilegedWithCommands(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else than nobody")
	}
	t.Parallel()
	f := newFleet(t, "app", "tcp*")
	v := f.asNobody()
	apply := func(status int, want ...string) string {
		t.Helper()
		v.Want = want
		got, out := v.start(t)
		if got != status {
			t.Fatalf("exit status %d, want %d: %s", got, status, out)
		}
		return out
	}
	// Each process is a new one, so each also learns what the one before left.
	apply(0, "app 1 2", "tcp* 1 2")
	f.serves("app 1 2", "tcp* 1 2")
	good := f.files()
	keeps := func(out string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Fatalf("want %q in: %s", w, out)
			}
		}
		f.keeps(good)
		f.serves("app 1 2", "tcp* 1 2")
	}

	f.rewriteMain("http {", "http {\nupstream mine { server 127.0.0.1:9; }\n")
	keeps(apply(3, "app 2 1", "tcp* 2 1", "mine 1 1"), "refused", `duplicate upstream "mine"`)
	v.ReloadCommand[3] = "nothing"
	keeps(apply(3, "app 2 1", "tcp* 2 1"), "rolled_back", "is not allowed")
	v.ReloadCommand[3] = "reload"

	f.rewriteMain("http {", "no_such_directive on;\nhttp {")
	keeps(apply(3, "app 2 1", "tcp* 2 1"), "failed", "nginx's own configuration is broken", "no_such_directive")
	f.rewriteMain("no_such_directive on;\n", "")

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	f.must(err)
	defer taken.Close()
	f.rewriteMain("http {", fmt.Sprintf("http {\nserver { listen %s; }\n", taken.Addr()))
	keeps(apply(3, "app 2 1", "tcp* 2 1"), "rolled_back", "bind() to "+taken.Addr().String())
	f.must(taken.Close())

	pid, err := os.ReadFile(f.nginx.PIDFile)
	f.must(err)
	f.must(os.WriteFile(f.nginx.PIDFile, nil, 0o644))
	keeps(apply(3, "app 2 1", "tcp* 2 1"), "failed", "is empty")
	f.must(os.WriteFile(f.nginx.PIDFile, pid, 0o644))

	reload := v.ReloadCommand
	v.ReloadCommand = nil
	keeps(apply(3, "app 2 1", "tcp* 2 1"), "failed", "nginx.reload_command")
	v.ReloadCommand = reload
	apply(0, "app 2 1", "tcp* 2 1")
	f.serves("app 2 1", "tcp* 2 1")

	// Somebody takes the right to read a file away: it is replaced.
	file := filepath.Join(f.opts.Folder, "tidegate-app.conf")
	f.must(os.Chown(file, 0, 0))
	f.must(os.Chmod(file, 0o600))
	apply(0, "app 2 1", "tcp* 2 1")
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o644 {
		t.Fatalf("%v %v", fi, err)
	}
}

// asNobody gives the folder to nobody and returns a process that runs as nobody, with commands that root runs for it.
func (f *fleet) asNobody() victim {
	f.t.Helper()
	// The test's binary lies in a folder that nobody may not enter.
	exe, err := os.ReadFile("/proc/self/exe")
	f.must(err)
	bin, socket := f.rig.Path("nginxgen.test"), f.rig.Path("root.sock")
	f.must(os.WriteFile(bin, exe, 0o755))
	nginx, err := harness.Find("nginx")
	f.must(err)
	args := []string{nginx, "-p", f.rig.Dir, "-c", f.nginx.Conf}
	startAsRoot(f.t, socket, map[string][]string{"test": append(args[:5:5], "-t"), "reload": append(args[:5:5], "-s", "reload")})
	// The stream file gets a folder that nobody owns as well; the rig's own stays root's.
	dirs := []string{f.opts.Folder, f.rig.Path("home")}
	f.must(os.Mkdir(dirs[1], 0o755))
	for _, dir := range dirs {
		f.must(os.Chown(dir, nobody, nobody))
	}
	if f.opts.StreamFile != "" {
		moved := filepath.Join(dirs[1], "streams.conf")
		f.must(os.Rename(f.opts.StreamFile, moved))
		f.rewriteMain(f.opts.StreamFile, moved)
		f.opts.StreamFile = moved
	}
	f.must(harness.WaitFor("the pid", 10*time.Second, func() bool { _, err := os.Stat(f.nginx.PIDFile); return err == nil }))
	return victim{Folder: f.opts.Folder, StreamFile: f.opts.StreamFile, Main: f.opts.Main, Prefix: f.opts.Prefix, Addrs: f.addrs,
		TestCommand: []string{bin, "as-root", socket, "test"}, ReloadCommand: []string{bin, "as-root", socket, "reload"},
		Exe: bin, Home: dirs[1]}
}
