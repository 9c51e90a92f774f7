package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/proc"
)

// script is what a worker's process does first. It waits until the agent has written it down, and becomes the command
// then; when the agent dies before that, it ends. LISTEN_PID must be its own pid, which only it knows.
const script = `read -r go || exit 0; exec </dev/null; umask "$1"; shift; LISTEN_PID=$$; export LISTEN_PID; exec "$@"`

// start starts the worker with the lowest free number.
func (s *Processes) start() error {
	n := s.freeNumber()
	argv, attr, err := s.prepare(n)
	if err != nil {
		return err
	}
	out, closeOut, err := s.output(n)
	if err != nil {
		return err
	}
	defer closeOut()
	gate, open, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start a worker: %w", err)
	}
	defer gate.Close()
	defer open.Close()
	attr.Files = []uintptr{gate.Fd(), out, out, uintptr(s.listener)}
	pid, err := syscall.ForkExec("/bin/sh", argv, attr)
	if err != nil {
		return fmt.Errorf("start a worker in %s: %w", s.opt.Directory, err)
	}
	s.starts.Add(1)
	w := &worker{n: n, ours: true}
	st, err := s.proc.Stat(pid)
	if err == nil {
		w.id = proc.ID{PID: pid, Start: st.Start}
		w.pidfd, err = openPidfd(&s.proc, w.id)
	}
	if err != nil {
		_ = open.Close() // it ends
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return fmt.Errorf("look at the worker just started: %w", err)
	}
	s.workers = append(s.workers, w)
	if err := s.save(); err != nil {
		return err // the gate closes, the worker ends, and that is seen
	}
	if _, err := open.Write([]byte("\n")); err != nil {
		return fmt.Errorf("let the worker begin: %w", err)
	}
	return nil
}

// freeNumber is the lowest number that no worker has.
func (s *Processes) freeNumber() int {
	used := map[int]bool{}
	for _, w := range s.workers {
		used[w.n] = true
	}
	n := 1
	for used[n] {
		n++
	}
	return n
}

// prepare makes everything that a worker begins with but its files.
func (s *Processes) prepare(n int) ([]string, *syscall.ProcAttr, error) {
	env := environment{}
	env.take("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
	cred, err := s.credential(env)
	if err != nil {
		return nil, nil, err
	}
	if s.opt.EnvFile != "" {
		if err := env.read(s.opt.EnvFile); err != nil {
			return nil, nil, err
		}
	}
	env["LISTEN_FDS"], env["LISTEN_FDNAMES"] = "1", "web"
	env["TIDEGATE_APP"], env["TIDEGATE_WORKER"] = s.opt.Name, strconv.Itoa(n)
	if s.opt.Ready.Notify {
		env["NOTIFY_SOCKET"] = s.path(".notify")
	}
	program := s.opt.Command[0]
	if strings.HasPrefix(program, "/") {
		if _, err := exec.LookPath(program); err != nil {
			return nil, nil, fmt.Errorf("the command %s cannot be run: %w", program, errors.Unwrap(err))
		}
	}
	argv := append([]string{"sh", "-c", script, "sh", fmt.Sprintf("%04o", s.opt.Umask)}, s.opt.Command...)
	return argv, &syscall.ProcAttr{Dir: s.opt.Directory, Env: env.list(), Sys: &syscall.SysProcAttr{Setsid: true, Credential: cred}}, nil
}

// output is the file descriptor for what a worker prints.
func (s *Processes) output(n int) (uintptr, func(), error) {
	if s.opt.Log == "" {
		return os.Stderr.Fd(), func() {}, nil
	}
	name := strings.ReplaceAll(s.opt.Log, "%d", strconv.Itoa(n))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, nil, fmt.Errorf("open the log of worker %d: %w", n, err)
	}
	return f.Fd(), func() { _ = f.Close() }, nil
}

// credential is the user and group to become, nil for the agent's own. HOME, USER and LOGNAME go with the user.
func (s *Processes) credential(env environment) (*syscall.Credential, error) {
	if s.opt.User == "" && s.opt.Group == "" {
		env.take("HOME", "USER", "LOGNAME")
		return nil, nil
	}
	cred := &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}
	if name := s.opt.User; name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			u, err = user.LookupId(name)
		}
		if err != nil {
			return nil, fmt.Errorf("there is no user %s on this node", name)
		}
		uid, gid := number(u.Uid), number(u.Gid)
		if uid == cred.Uid && s.opt.Group == "" {
			env.take("HOME", "USER", "LOGNAME")
			return nil, nil
		}
		cred.Uid, cred.Gid = uid, gid
		if groups, err := u.GroupIds(); err == nil {
			for _, g := range groups {
				cred.Groups = append(cred.Groups, number(g))
			}
		}
		env["HOME"], env["USER"], env["LOGNAME"] = u.HomeDir, u.Username, u.Username
	}
	if name := s.opt.Group; name != "" {
		g, err := user.LookupGroup(name)
		if err != nil {
			g, err = user.LookupGroupId(name)
		}
		if err != nil {
			return nil, fmt.Errorf("there is no group %s on this node", name)
		}
		cred.Gid = number(g.Gid)
	}
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("only root can start workers as user %q and group %q, and the agent is not root", s.opt.User, s.opt.Group)
	}
	return cred, nil
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return ^uint32(0) // no user at all
	}
	return uint32(n)
}
