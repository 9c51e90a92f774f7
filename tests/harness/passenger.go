package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// rack is the application behind Passenger: it answers after ?ms= milliseconds.
const rack = `run lambda { |env|
  ms = env['QUERY_STRING'][/ms=(\d+)/, 1].to_i
  sleep ms / 1000.0
  [200, {'Content-Type' => 'text/plain'}, ["ok #{Process.pid}\n"]]
}
`

// Passenger is a running Phusion Passenger Standalone with the builtin engine.
type Passenger struct {
	*Proc
	// Registry is the path of its instance registry, Root that of the application.
	Registry, Root string
}

// StartPassenger runs Passenger with the test application at addr, "127.0.0.1:PORT", and waits until it listens. extra are
// further options.
func (r *Rig) StartPassenger(name, addr string, extra ...string) (*Passenger, error) {
	p := &Passenger{Registry: r.Path(name + "-reg"), Root: r.Path(name)}
	if _, err := r.Write(name+"/config.ru", rack); err != nil {
		return nil, err
	}
	for _, dir := range []string{p.Registry, p.Root + "/public", p.Root + "/tmp"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make a folder for Passenger: %w", err)
		}
	}
	host, port, _ := strings.Cut(addr, ":")
	argv := append([]string{"passenger", "start", p.Root, "--engine", "builtin", "--address", host, "--port", port,
		"--environment", "production", "--instance-registry-dir", p.Registry, "--pid-file", r.Path(name + ".pid"),
		"--log-file", r.Path(name + "-core.log"), "--disable-security-update-check", "--disable-anonymous-telemetry",
		"--no-install-runtime", "--no-compile-runtime"}, extra...)
	var err error
	if p.Proc, err = r.Start(name, []string{"HOME=" + r.Dir}, argv...); err != nil {
		return nil, err
	}
	if err := WaitListening(addr, 60*time.Second); err != nil {
		return p, fmt.Errorf("%w\n%s", err, p.Log())
	}
	return p, nil
}

// Stop ends Passenger, which has left the process group of the program that started it.
func (p *Passenger) Stop(timeout time.Duration) error {
	files, err := filepath.Glob(p.Registry + "/passenger.*/*.pid")
	if err != nil {
		return err
	}
	var pids []int
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
	}
	err = p.Proc.Stop(timeout)
	for _, pid := range pids {
		// Only what still bears the name is Passenger's.
		if b, readErr := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); readErr == nil && strings.HasPrefix(string(b), "Passenger ") {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return err
}
