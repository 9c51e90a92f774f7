package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// roleEnv makes this program another part of the bench; see play.
const roleEnv = "TIDEGATE_BENCH_ROLE"

// sessionEnv lets each part begin a session of its own.
const sessionEnv = "TIDEGATE_BENCH_SESSIONS"

// play runs the role in the environment and reports whether there was one.
func play(args []string) (played bool, err error) {
	switch os.Getenv(roleEnv) {
	case "":
		return false, nil
	}
	if os.Getenv(sessionEnv) != "" {
		if _, err := syscall.Setsid(); err != nil {
			return true, fmt.Errorf("begin a session: %w", err)
		}
	}
	switch os.Getenv(roleEnv) {
	case "agent":
		return true, playAgent(args[0], args[1])
	case "responder":
		return true, playResponder(args[0])
	case "node":
		return true, playNode(args[0], args[1:])
	case "master":
		workers, err := strconv.Atoi(args[1])
		if err != nil {
			return true, err
		}
		return true, playMaster(args[0], workers)
	case "lister":
		return true, playLister(args)
	case "static":
		return true, playStatic(args[0], args[1])
	case "httpload":
		return true, playHTTPLoad(args)
	}
	return true, fmt.Errorf("role %q: there is none of that name", os.Getenv(roleEnv))
}

// usage is what a contestant has taken and used so far.
type usage struct {
	taken
	// CPU is user and system time, Mallocs the number of objects allocated, GCs that of collections.
	CPU          time.Duration
	Mallocs, GCs uint64
	HeapMiB      float64
}

// playAgent serves until its input ends, which it does when the process that started it dies. Each line asked on the
// input is answered with one: "stats", "profile PATH" and "stop" (the profile).
func playAgent(kind, addr string) error {
	counts, err := serveAgent(kind, addr)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	var profile *os.File
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, path, _ := strings.Cut(in.Text(), " ")
		switch verb {
		case "stats":
			if err := json.NewEncoder(os.Stdout).Encode(ownUsage(counts())); err != nil {
				return err
			}
		case "profile":
			if profile, err = os.Create(path); err == nil {
				err = pprof.StartCPUProfile(profile)
			}
			if err != nil {
				return err
			}
			fmt.Println("started")
		case "stop":
			pprof.StopCPUProfile()
			fmt.Println("stopped", profile.Close())
		}
	}
	return in.Err()
}

func ownUsage(t taken) usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return usage{
		taken: t, CPU: time.Duration(ru.Utime.Nano() + ru.Stime.Nano()),
		Mallocs: m.Mallocs, GCs: uint64(m.NumGC), HeapMiB: float64(m.HeapInuse) / (1 << 20),
	}
}

// child is this program in another role.
type child struct {
	cmd  *exec.Cmd
	to   io.WriteCloser
	from *bufio.Scanner
}

func startChild(role string, args ...string) (*child, error) { return startSeated(nil, role, args...) }

// startSeated is startChild for one that is compared, if s is not nil.
func startSeated(s *seats, role string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	c := &child{cmd: exec.Command(self, args...)}
	c.cmd.Env = append(os.Environ(), roleEnv+"="+role)
	c.cmd.Stderr = os.Stderr
	if c.to, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.from = bufio.NewScanner(out)
	if err := s.start(c.cmd); err != nil {
		return nil, fmt.Errorf("start a %s: %w", role, err)
	}
	return c, nil
}

func (c *child) line() (string, error) {
	if !c.from.Scan() {
		return "", fmt.Errorf("process %s ended without an answer", strings.Join(c.cmd.Args[1:], " "))
	}
	return c.from.Text(), nil
}

func (c *child) ask(question string) (string, error) {
	if _, err := io.WriteString(c.to, question+"\n"); err != nil {
		return "", fmt.Errorf("ask process %s: %w", strings.Join(c.cmd.Args[1:], " "), err)
	}
	return c.line()
}

func (c *child) usage() (u usage, err error) {
	text, err := c.ask("stats")
	if err == nil {
		err = json.Unmarshal([]byte(text), &u)
	}
	return u, err
}

// stop ends the process by the end of its input.
func (c *child) stop() {
	_ = c.to.Close()
	late := time.AfterFunc(3*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	_ = c.cmd.Wait()
}

// agentProc is a contestant at work.
type agentProc struct {
	*child
	kind, addr string
	counts     counts
}

func startAgent(kind, addr string) (*agentProc, error) { return startSeatedAgent(nil, kind, addr) }

// startSeatedAgent is startAgent for one that is compared, if s is not nil.
func startSeatedAgent(s *seats, kind, addr string) (*agentProc, error) {
	c, err := startSeated(s, "agent", kind, addr)
	if err != nil {
		return nil, err
	}
	a := &agentProc{child: c, kind: kind, addr: addr}
	if _, err := c.line(); err != nil {
		c.stop()
		return nil, err
	}
	return a, nil
}

// status reads a line of /proc/PID/status in kB, as MiB.
func statusMiB(pid int, field string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in the status of process %d", field, pid)
}

// cpuOf is the processor time of another process, all threads that live, to the nanosecond.
func cpuOf(pid int) (time.Duration, error) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, t := range tasks {
		text, err := os.ReadFile(dir + "/" + t.Name() + "/schedstat")
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}
