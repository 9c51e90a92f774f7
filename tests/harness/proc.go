package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Proc is a process of the rig, the leader of a process group of its own.
type Proc struct {
	Name string
	Argv []string

	cmd     *exec.Cmd
	logPath string
	done    chan struct{}
	mu      sync.Mutex
	waitErr error
}

// Find returns the path of a program, looking in the sbin folders too, which a user's PATH may lack.
func Find(program string) (string, error) {
	if p, err := exec.LookPath(program); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if p, err := exec.LookPath(dir + program); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: not found in PATH or the sbin folders", program)
}

// Start runs argv with extra environment in a process group of its own; output goes to NAME.log in the rig's folder.
// When the starting process dies, the kernel ends the child, so that nothing is left behind by a killed test.
func (r *Rig) Start(name string, env []string, argv ...string) (*Proc, error) {
	path, err := Find(argv[0])
	if err != nil {
		return nil, err
	}
	logPath := r.Path(name + ".log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer logFile.Close()
	cmd := exec.Command(path, argv[1:]...)
	cmd.Dir = r.Dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Proc{Name: name, Argv: argv, cmd: cmd, logPath: logPath, done: make(chan struct{})}
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.waitErr = err
		p.mu.Unlock()
		close(p.done)
	}()
	r.mu.Lock()
	r.procs = append(r.procs, p)
	r.mu.Unlock()
	return p, nil
}

// PID is the process id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Running tells whether the process has not ended yet.
func (p *Proc) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// State describes the process for a person.
func (p *Proc) State() string {
	if p.Running() {
		return "running"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waitErr != nil {
		return p.waitErr.Error()
	}
	return "exit status 0"
}

// ExitCode waits up to timeout and returns the exit status, -1 when ended by a signal.
func (p *Proc) ExitCode(timeout time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(timeout):
		return 0, fmt.Errorf("%s (pid %d) has not ended within %v", p.Name, p.PID(), timeout)
	}
}

// Log returns what the process has printed so far.
func (p *Proc) Log() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// WaitLog waits until the log contains text.
func (p *Proc) WaitLog(text string, timeout time.Duration) error {
	return WaitFor(fmt.Sprintf("%q in the log of %s", text, p.Name), timeout, func() bool {
		return strings.Contains(p.Log(), text)
	})
}

// Signal sends a signal to the process itself, not to its group.
func (p *Proc) Signal(sig syscall.Signal) error {
	if !p.Running() {
		return fmt.Errorf("signal %s: it has ended (%s)", p.Name, p.State())
	}
	return p.cmd.Process.Signal(sig)
}

// Stop ends the process with SIGTERM, and the whole group with SIGKILL when it has not ended in time. It is an error
// that the process had to be killed, not that it had ended before.
func (p *Proc) Stop(timeout time.Duration) error {
	pid := p.PID()
	if p.Running() {
		// A stopped process (SIGSTOP in a test) would not hear SIGTERM.
		_ = syscall.Kill(-pid, syscall.SIGCONT)
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	var err error
	select {
	case <-p.done:
	case <-time.After(timeout):
		err = fmt.Errorf("%s (pid %d) did not end within %v of SIGTERM and was killed", p.Name, pid, timeout)
	}
	p.killGroup(pid)
	<-p.done
	return err
}

// Kill ends the whole group at once with SIGKILL and waits.
func (p *Proc) Kill() {
	p.killGroup(p.PID())
	<-p.done
}

// killGroup ends what is left of the group; the group id stays reserved while any member lives, so no stranger is hit.
func (p *Proc) killGroup(pid int) {
	for range 100 {
		err := syscall.Kill(-pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
