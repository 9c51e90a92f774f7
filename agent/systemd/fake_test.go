package systemd

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// fakeManager stands in for systemd, which must not be started on the machines that run the tests. It speaks D-Bus with the
// real client library over a socket pair, and it really starts and ends processes: one for each unit, on one listener, with
// Type=notify. Of systemd it has what the agent uses, no more; what it answers was taken from systemd 252 and its D-Bus
// documentation (org.freedesktop.systemd1(5)).
type fakeManager struct {
	t        *testing.T
	command  []string
	env      []string
	listener *os.File
	notify   *net.UnixConn
	sockPath string

	mu    sync.Mutex
	units map[string]*fakeUnit
	conns map[*dbus.Conn]bool
	jobs  uint32
	// deny is the D-Bus error that a start of the named unit (or of "*") gets; silent: no call is answered.
	deny   map[string]string
	silent bool
	down   bool
	// broken: processes end with status 1 at once. skip: start jobs end without a process.
	broken, skip bool
	resets       []string
}

type fakeUnit struct {
	name, state, sub string
	cmd              *exec.Cmd
	result           string
	jobID            uint32
	jobType          string
}

const (
	managerPath = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerName = "org.freedesktop.systemd1.Manager"
)

func newFake(t *testing.T, listen string, command []string, env []string, sock string) *fakeManager {
	t.Helper()
	f := &fakeManager{t: t, command: command, env: env, sockPath: sock, units: map[string]*fakeUnit{}, conns: map[*dbus.Conn]bool{},
		deny: map[string]string{}}
	if listen != "" {
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		if f.listener, err = ln.(*net.TCPListener).File(); err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
		if f.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: sock, Net: "unixgram"}); err != nil {
			t.Fatal(err)
		}
		heard := make(chan struct{})
		go func() { defer close(heard); f.hear() }()
		t.Cleanup(func() { _ = f.notify.Close(); <-heard })
	}
	t.Cleanup(f.end)
	return f
}

// end kills all processes and waits for them.
func (f *fakeManager) end() {
	f.mu.Lock()
	for c := range f.conns {
		_ = c.Close()
	}
	for _, u := range f.units {
		if u.cmd != nil {
			_ = u.cmd.Process.Kill()
		}
	}
	f.mu.Unlock()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		f.mu.Lock()
		left := 0
		for _, u := range f.units {
			if u.cmd != nil {
				left++
			}
		}
		f.mu.Unlock()
		if left == 0 {
			break
		}
	}
	if f.listener != nil {
		_ = f.listener.Close()
	}
}

// hear makes a unit active when its process says READY=1; here the message names the process.
func (f *fakeManager) hear() {
	buf := make([]byte, 4096)
	for {
		n, err := f.notify.Read(buf)
		if err != nil {
			return
		}
		text := string(buf[:n])
		f.mu.Lock()
		for _, u := range f.units {
			if u.cmd != nil && strings.Contains(text, "READY=1") && strings.Contains(text, fmt.Sprintf("MAINPID=%d\n", u.cmd.Process.Pid)) && u.state == "activating" {
				u.state, u.sub = "active", "running"
				f.jobDone(u, "done")
			}
		}
		f.mu.Unlock()
	}
}

// connect is the dial injection: go-systemd gets its two connections to this manager.
func (f *fakeManager) connect(context.Context) (*sd.Conn, error) {
	return sd.NewConnection(func() (*dbus.Conn, error) {
		f.mu.Lock()
		down := f.down
		f.mu.Unlock()
		if down {
			return nil, syscall.ECONNREFUSED
		}
		client, clientEnd := net.Pipe()
		server, serverEnd := net.Pipe()
		// Between the two stands what a bus daemon does: it authenticates either side, then passes bytes.
		go bridge(clientEnd, serverEnd)
		c, err := authenticated(client)
		if err != nil {
			return nil, err
		}
		s, err := authenticated(server)
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, f.serve(s)
	})
}

// serve exports the manager on one connection.
func (f *fakeManager) serve(c *dbus.Conn) error {
	f.mu.Lock()
	f.conns[c] = true
	f.mu.Unlock()
	for _, e := range []error{
		c.Export(busDaemon{}, "/org/freedesktop/DBus", "org.freedesktop.DBus"),
		c.ExportMethodTable(map[string]any{"ListUnitsByPatterns": f.list, "StartUnit": f.startUnit, "StopUnit": f.stopUnit,
			"ResetFailedUnit": f.resetFailed}, managerPath, managerName),
		c.ExportSubtreeMethodTable(map[string]any{"Get": f.property}, managerPath+"/unit", "org.freedesktop.DBus.Properties"),
	} {
		if e != nil {
			return e
		}
	}
	return nil
}

type busDaemon struct{}

// AddMatch takes any rule.
func (busDaemon) AddMatch(string) *dbus.Error { return nil }

// answer is where every call goes through.
func (f *fakeManager) answer() {
	for {
		f.mu.Lock()
		silent := f.silent
		f.mu.Unlock()
		if !silent {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (f *fakeManager) list(states, patterns []string) ([]sd.UnitStatus, *dbus.Error) {
	f.answer()
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []sd.UnitStatus
	for _, u := range f.units {
		for _, p := range patterns {
			if ok, err := path.Match(p, u.name); err != nil || !ok || len(states) != 0 || u.state == "inactive" && u.jobType == "" {
				continue // systemd unloads inactive units
			}
			out = append(out, sd.UnitStatus{Name: u.name, Description: u.name, LoadState: "loaded", ActiveState: u.state, SubState: u.sub,
				Path: managerPath + "/unit/x", JobId: u.jobID, JobType: u.jobType, JobPath: "/"})
		}
	}
	return out, nil
}

func (f *fakeManager) property(msg dbus.Message, _, name string) (dbus.Variant, *dbus.Error) {
	f.answer()
	f.mu.Lock()
	defer f.mu.Unlock()
	object, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	for _, u := range f.units {
		if sd.PathBusEscape(u.name) != path.Base(string(object)) {
			continue
		}
		switch {
		case name == "Result":
			return dbus.MakeVariant(u.result), nil
		case name == "MainPID" && u.cmd != nil:
			return dbus.MakeVariant(uint32(u.cmd.Process.Pid)), nil
		case name == "MainPID":
			return dbus.MakeVariant(uint32(0)), nil
		}
	}
	return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownObject", []any{"Unknown object"})
}

func (f *fakeManager) startUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	f.answer()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range []string{name, "*"} {
		if e := f.deny[n]; e != "" {
			return "", dbus.NewError(e, []any{"no"})
		}
	}
	u := f.units[name]
	if u == nil {
		u = &fakeUnit{name: name, state: "inactive", sub: "dead"}
		f.units[name] = u
	}
	f.jobs++
	u.jobID, u.jobType = f.jobs, "start"
	switch {
	case mode != "replace":
		return "", dbus.NewError("org.freedesktop.DBus.Error.InvalidArgs", []any{"mode"})
	case u.state == "active" || u.state == "activating":
		f.jobDone(u, "done")
	case f.skip:
		f.jobDone(u, "dependency")
	case u.state == "failed": // as with the start limit hit
		f.jobDone(u, "failed")
	default:
		f.spawn(u)
	}
	return dbus.ObjectPath(fmt.Sprintf("%s/job/%d", managerPath, u.jobIDOr(f.jobs))), nil
}

// jobIDOr is the unit's job, or the last one when it is over already.
func (u *fakeUnit) jobIDOr(last uint32) uint32 {
	if u.jobID != 0 {
		return u.jobID
	}
	return last
}

// spawn starts the unit's process. The caller holds the lock.
func (f *fakeManager) spawn(u *fakeUnit) {
	argv := append([]string{"-c", `LISTEN_PID=$$; export LISTEN_PID; exec "$@"`, "sh"}, f.command...)
	if f.broken {
		argv = []string{"-c", "exit 1"}
	}
	cmd := exec.Command("/bin/sh", argv...)
	cmd.Env = append(os.Environ(), append(f.env, "LISTEN_FDS=1", "NOTIFY_SOCKET="+f.sockPath)...)
	cmd.ExtraFiles = []*os.File{f.listener}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		f.t.Errorf("start %s: %v", u.name, err)
		return
	}
	u.cmd, u.state, u.sub, u.result = cmd, "activating", "start", "success"
	go func() {
		err := cmd.Wait()
		f.mu.Lock()
		defer f.mu.Unlock()
		stopping := u.state == "deactivating"
		u.cmd = nil
		switch {
		case stopping || err == nil:
			u.state, u.sub = "inactive", "dead"
			f.jobDone(u, "done")
		default:
			u.state, u.sub, u.result = "failed", "failed", "exit-code"
			f.jobDone(u, "failed")
		}
	}()
}

// jobDone ends the unit's job and tells everybody. The caller holds the lock.
func (f *fakeManager) jobDone(u *fakeUnit, result string) {
	if u.jobType == "" {
		return
	}
	id := u.jobID
	u.jobID, u.jobType = 0, ""
	for c := range f.conns {
		if c.Emit(managerPath, managerName+".JobRemoved", id, dbus.ObjectPath(managerPath+"/job/"+dbus.ObjectPath(strconv.Itoa(int(id)))), u.name, result) != nil {
			delete(f.conns, c)
		}
	}
}

func (f *fakeManager) stopUnit(name, _ string) (dbus.ObjectPath, *dbus.Error) {
	f.answer()
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.units[name]
	if u == nil {
		return "", dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"Unit not loaded."})
	}
	f.jobs++
	u.jobID, u.jobType = f.jobs, "stop"
	if u.cmd != nil {
		u.state, u.sub = "deactivating", "stop-sigterm"
		_ = u.cmd.Process.Signal(syscall.SIGTERM)
	} else {
		u.state, u.sub = "inactive", "dead"
		f.jobDone(u, "done")
	}
	return dbus.ObjectPath(fmt.Sprintf("%s/job/%d", managerPath, u.jobIDOr(f.jobs))), nil
}

func (f *fakeManager) resetFailed(name string) *dbus.Error {
	f.answer()
	f.mu.Lock()
	defer f.mu.Unlock()
	if u := f.units[name]; u != nil && u.state == "failed" {
		u.state, u.sub = "inactive", "dead"
	}
	f.resets = append(f.resets, name)
	return nil
}

// set changes how the manager behaves.
func (f *fakeManager) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// hangUp breaks all connections, as a restart of the bus does, and refuses new ones while down.
func (f *fakeManager) hangUp(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
	for c := range f.conns {
		_ = c.Close()
		delete(f.conns, c)
	}
}

// states are the units that are not inactive.
func (f *fakeManager) states() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]string{}
	for name, u := range f.units {
		if u.state != "inactive" {
			out[name] = u.state
		}
	}
	return out
}
