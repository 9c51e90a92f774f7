package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/agent/proc"
)

// fakeApp is an application as the node agent sees it: a master that takes the signals, sleeping children, a pid file and
// marks. Nothing serves; what the agent reads of it is the kernel's and the file system's as with real servers.
type fakeApp struct {
	name, pidFile, marks string
	master               *child
	workers              []proc.ID
	begun                []string // marks of requests in progress, oldest first
	seq                  int
}

// The agent lists the children of a master's main thread, so that one must be the one that forks.
func init() {
	if os.Getenv(roleEnv) == "master" {
		runtime.LockOSThread()
	}
}

// playMaster starts so many sleeping children and names them in a line; it ends with its input, and they with it.
func playMaster(pidFile string, workers int) error {
	// As an app server's master does.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGCHLD)
	pids := make([]int, workers)
	for i := range pids {
		c := exec.Command("sleep", "3600")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			return fmt.Errorf("start a worker: %w", err)
		}
		defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
		pids[i] = c.Process.Pid
	}
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(pids); err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
	}
	return in.Err()
}

func startApp(dir, shm, name string, workers int) (*fakeApp, error) {
	a := &fakeApp{name: name, pidFile: filepath.Join(dir, name+".pid"), marks: filepath.Join(shm, name)}
	if err := os.MkdirAll(a.marks, 0o755); err != nil {
		return nil, err
	}
	var err error
	if a.master, err = startChild("master", a.pidFile, strconv.Itoa(workers)); err != nil {
		return nil, err
	}
	line, err := a.master.line()
	var pids []int
	if err == nil {
		err = json.Unmarshal([]byte(line), &pids)
	}
	var r proc.Reader
	for _, pid := range pids {
		st, serr := r.Stat(pid)
		if serr != nil {
			return a, fmt.Errorf("look at a worker: %w", serr)
		}
		id := proc.ID{PID: pid, Start: st.Start}
		a.workers = append(a.workers, id)
		if err = a.touch(fmt.Sprintf("w.%d.%d", id.PID, id.Start)); err != nil {
			break
		}
	}
	return a, err
}

func (a *fakeApp) touch(name string) error {
	f, err := os.OpenFile(filepath.Join(a.marks, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("make a mark: %w", err)
	}
	return f.Close()
}

// begin begins a request in the next worker, and ends the oldest one when more than so many are in progress.
func (a *fakeApp) begin(most int) error {
	id := a.workers[a.seq%len(a.workers)]
	name := fmt.Sprintf("b.%d.%d.%d", id.PID, id.Start, a.seq)
	a.seq++
	a.begun = append(a.begun, name)
	if err := a.touch(name); err != nil {
		return err
	}
	if len(a.begun) <= most {
		return nil
	}
	oldest := a.begun[0]
	a.begun = a.begun[1:]
	return os.Remove(filepath.Join(a.marks, oldest))
}

// fill begins requests until so many are in progress.
func (a *fakeApp) fill(f *fleet, most int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(a.begun) < most {
		if err := a.begin(most); err != nil {
			return err
		}
	}
	return nil
}

// fleet is all applications of the fake node, with requests in progress all the time.
type fleet struct {
	apps    []*fakeApp
	workers int // of each
	shm     string
	stop    chan struct{}
	done    sync.WaitGroup
	mu      sync.Mutex
	err     error
}

// startFleet starts apps of so many workers. busy requests of each are in progress, each for so long.
func startFleet(dir string, apps, workers, busy int, long time.Duration) (*fleet, error) {
	shm, err := os.MkdirTemp("/dev/shm", "tgb-")
	if err != nil {
		shm, err = os.MkdirTemp(dir, "marks-")
	}
	if err != nil {
		return nil, fmt.Errorf("make a folder for marks: %w", err)
	}
	f := &fleet{workers: workers, shm: shm, stop: make(chan struct{})}
	for i := range apps {
		a, err := startApp(dir, shm, "app"+strconv.Itoa(i), workers)
		if a != nil {
			f.apps = append(f.apps, a)
		}
		if err != nil {
			f.close()
			return nil, err
		}
	}
	f.done.Go(func() {
		tick := time.NewTicker(long / time.Duration(busy))
		defer tick.Stop()
		for {
			for _, a := range f.apps {
				f.mu.Lock()
				if err := a.begin(busy); err != nil {
					f.err = err
				}
				f.mu.Unlock()
			}
			select {
			case <-f.stop:
				return
			case <-tick.C:
			}
		}
	})
	return f, nil
}

func (f *fleet) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// args tells the agent's process of the applications.
func (f *fleet) args() []string {
	var all []string
	for _, a := range f.apps {
		all = append(all, strings.Join([]string{a.name, a.pidFile, a.marks}, "="))
	}
	return all
}

func (f *fleet) close() {
	close(f.stop)
	f.done.Wait()
	for _, a := range f.apps {
		a.master.stop()
	}
	_ = os.RemoveAll(f.shm)
}
