package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// TB is the part of testing.TB that a test rig needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Cleanup(func())
	Failed() bool
}

// Rig owns a temporary folder and the processes started in it.
type Rig struct {
	// Dir is the folder; its path is short, because unix socket paths end at 107 bytes.
	Dir string
	// Keep leaves the folder when the rig is closed.
	Keep bool

	mu    sync.Mutex
	procs []*Proc
	confs []string
	ports map[int]bool
}

// New makes a rig in a new temporary folder.
func New() (*Rig, error) {
	dir, err := os.MkdirTemp("", "tg-")
	if err != nil {
		return nil, fmt.Errorf("make the rig's folder: %w", err)
	}
	// Worker processes may run as another user and must reach sockets and marks.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open the rig's folder to its workers: %w", err)
	}
	return &Rig{Dir: dir, ports: map[int]bool{}}, nil
}

// ForTest makes a rig that ends with the test, and prints configurations and logs when the test failed.
func ForTest(t TB) *Rig {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Fatalf("rig: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", r.Dump())
		}
		if err := r.Close(); err != nil {
			t.Logf("rig: %v", err)
		}
	})
	return r
}

// Need skips the test when a program is not installed. `make test` installs the programs it names and counts skips.
func Need(t TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := Find(p); err != nil {
			t.Skipf("%s is not installed (make deps installs it)", p)
		}
	}
}

// Close ends every process, newest first, and removes the folder.
func (r *Rig) Close() error {
	r.mu.Lock()
	procs := r.procs
	r.procs = nil
	r.mu.Unlock()
	var errs []error
	for i := len(procs) - 1; i >= 0; i-- {
		if err := procs[i].Stop(5 * time.Second); err != nil {
			errs = append(errs, err)
		}
	}
	if r.Keep {
		return errors.Join(errs...)
	}
	if err := os.RemoveAll(r.Dir); err != nil {
		errs = append(errs, fmt.Errorf("remove the rig's folder: %w", err))
	}
	return errors.Join(errs...)
}

// Path joins parts to a path in the rig's folder.
func (r *Rig) Path(parts ...string) string {
	return filepath.Join(append([]string{r.Dir}, parts...)...)
}

// Write puts a file into the rig's folder, making parent folders, and returns its path. It is printed by Dump.
func (r *Rig) Write(name, text string) (string, error) {
	p := r.Path(name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return "", fmt.Errorf("make the folder of %s: %w", name, err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	r.mu.Lock()
	r.confs = append(r.confs, p)
	r.mu.Unlock()
	return p, nil
}

// MustWrite is Write, and ends the test when that fails.
func (r *Rig) MustWrite(t TB, name, text string) (path string) {
	t.Helper()
	path, err := r.Write(name, text)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return path
}

// Port returns a TCP port on 127.0.0.1 that is free now and that this rig has not given out before. It is below those that the kernel
// gives to connections, where it can be: another program's connection would otherwise take it now and then, before the one it
// is for binds it.
func (r *Rig) Port() (int, error) {
	first := firstConnectionPort()
	for range 50 {
		try := 0
		if first > 2*leastPort {
			try = leastPort + rand.IntN(first-leastPort)
		}
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", try))
		if err != nil {
			if errors.Is(err, syscall.EADDRINUSE) {
				continue
			}
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		port := ln.Addr().(*net.TCPAddr).Port
		if err := ln.Close(); err != nil {
			return 0, fmt.Errorf("free a port: %w", err)
		}
		r.mu.Lock()
		used := r.ports[port]
		r.ports[port] = true
		r.mu.Unlock()
		if !used {
			return port, nil
		}
	}
	return 0, errors.New("find a free port: fifty tries gave none")
}

// leastPort is above the ports of most services.
const leastPort = 10000

// firstConnectionPort is the lowest port that the kernel gives to connections, 0 when it is not known.
func firstConnectionPort() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	var low int
	if _, err := fmt.Sscan(string(text), &low); err != nil {
		return 0
	}
	return low
}

// Addr returns "127.0.0.1:PORT" with a free port.
func (r *Rig) Addr() (string, error) {
	port, err := r.Port()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", port), nil
}

// Dump returns the configurations written and the end of every log, for a failed test.
func (r *Rig) Dump() string {
	r.mu.Lock()
	confs, procs := append([]string(nil), r.confs...), append([]*Proc(nil), r.procs...)
	r.mu.Unlock()
	var b strings.Builder
	for _, c := range confs {
		text, err := os.ReadFile(c)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&b, "---- %s\n%s\n", c, text)
	}
	for _, p := range procs {
		fmt.Fprintf(&b, "---- log of %s (pid %d, %s)\n%s\n", p.Name, p.PID(), p.State(), tail(p.Log(), 6000))
	}
	return b.String()
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "[...]" + s[len(s)-n:]
}

// WaitFor polls cond every 20 ms until it is true, or says what did not come within the time.
func WaitFor(what string, timeout time.Duration, cond func() bool) error {
	deadline := time.Now().Add(timeout)
	for {
		if cond() {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s in vain", timeout, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// WaitListening waits until something accepts connections at addr ("host:port" or "unix:/path").
func WaitListening(addr string, timeout time.Duration) error {
	network, a := "tcp", addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, a = "unix", path
	}
	return WaitFor("a listener at "+addr, timeout, func() bool {
		c, err := net.DialTimeout(network, a, time.Second)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}
