package harness

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// AppPy is the WSGI application behind gunicorn in tests and in the demo (see its own comment for the URLs).
//
//go:embed app.py
var AppPy string

// WorkerPy is a worker of one process on file descriptor 3 with the application of AppPy, for what starts workers itself.
//
//go:embed worker.py
var WorkerPy string

// HAProxy is a running haproxy in master-worker mode.
type HAProxy struct {
	*Proc
	// Socket is the stats socket the caller put into its configuration as {{SOCK}}.
	Socket string
	files  []string
	rig    *Rig
	// workers are the pids that have answered before a reload or after one, newest is the last one.
	workers map[string]bool
	newest  string
}

// StartHAProxy writes cfg to NAME.cfg and runs haproxy with it and any further configuration files after it. In cfg,
// {{SOCK}} stands for the path of the stats socket (the caller writes the `stats socket` line) and {{DIR}} for the folder.
func (r *Rig) StartHAProxy(name, cfg string, more ...string) (*HAProxy, error) {
	sock := r.Path(name + ".sock")
	cfg = strings.NewReplacer("{{SOCK}}", sock, "{{DIR}}", r.Dir).Replace(cfg)
	path, err := r.Write(name+".cfg", cfg)
	if err != nil {
		return nil, err
	}
	files := append([]string{path}, more...)
	if out, err := CheckHAProxy(files...); err != nil {
		return nil, fmt.Errorf("haproxy refuses the configuration: %w\n%s", err, out)
	}
	argv := []string{haproxyBinary(), "-W", "-db"}
	for _, f := range files {
		argv = append(argv, "-f", f)
	}
	p, err := r.Start(name, nil, argv...)
	if err != nil {
		return nil, err
	}
	h := &HAProxy{Proc: p, Socket: sock, files: files, rig: r}
	if strings.Contains(cfg, sock) {
		if err := WaitListening("unix:"+sock, 10*time.Second); err != nil {
			return h, fmt.Errorf("%w\n%s", err, p.Log())
		}
	}
	return h, nil
}

func haproxyBinary() string {
	if b := os.Getenv("TIDEGATE_TEST_HAPROXY"); b != "" {
		return b
	}
	return "haproxy"
}

// CheckHAProxy runs `haproxy -c` on the files and returns its output.
func CheckHAProxy(files ...string) (string, error) {
	bin, err := Find(haproxyBinary())
	if err != nil {
		return "", err
	}
	argv := []string{"-c"}
	for _, f := range files {
		argv = append(argv, "-f", f)
	}
	out, err := exec.Command(bin, argv...).CombinedOutput()
	return string(out), err
}

// Reload asks the master to load its configuration again (SIGUSR2) and waits for a worker with a pid that none had before. Master
// and workers share the stats socket, so that for a moment an old worker may answer, too.
func (h *HAProxy) Reload() error {
	before, err := h.WorkerPID()
	if err != nil {
		return err
	}
	if h.workers == nil {
		h.workers = map[string]bool{}
	}
	h.workers[before] = true
	// A signal sent while the master is still busy with its own start is sometimes not noticed: send it again.
	for range 4 {
		if err = h.Signal(syscall.SIGUSR2); err != nil {
			return err
		}
		err = WaitFor("a new haproxy worker", 4*time.Second, func() bool {
			now, err := h.WorkerPID()
			if err != nil || h.workers[now] {
				return false
			}
			h.workers[now], h.newest = true, now
			return true
		})
		if err == nil {
			return nil
		}
	}
	return err
}

// NewestPID is the pid of the worker that the last Reload waited for, and of the one that answers where there was none since the start.
func (h *HAProxy) NewestPID() (string, error) {
	if h.newest != "" {
		return h.newest, nil
	}
	return h.WorkerPID()
}

// Restart kills haproxy without mercy and starts it again with the same files.
func (h *HAProxy) Restart() error {
	h.Kill()
	h.workers, h.newest = nil, ""
	argv := []string{haproxyBinary(), "-W", "-db"}
	for _, f := range h.files {
		argv = append(argv, "-f", f)
	}
	p, err := h.rig.Start(h.Name, nil, argv...)
	if err != nil {
		return err
	}
	h.Proc = p
	return WaitListening("unix:"+h.Socket, 10*time.Second)
}

// WorkerPID is the pid that `show info` answers.
func (h *HAProxy) WorkerPID() (string, error) {
	out, err := h.Command("show info")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if pid, ok := strings.CutPrefix(line, "Pid: "); ok && strings.HasSuffix(line, "\n") { // or the answer was cut off
			return strings.TrimSpace(pid), nil
		}
	}
	return "", fmt.Errorf("no pid in the answer %q", tail(out, 200))
}

// Command sends one line to the stats socket and returns all that comes back. It is for tests that play the human.
func (h *HAProxy) Command(line string) (string, error) {
	c, err := net.DialTimeout("unix", h.Socket, 2*time.Second)
	if err != nil {
		return "", fmt.Errorf("dial the stats socket: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", fmt.Errorf("write to the stats socket: %w", err)
	}
	out, err := io.ReadAll(c)
	if err != nil {
		return "", fmt.Errorf("read from the stats socket: %w", err)
	}
	return string(out), nil
}

// Nginx is a running nginx master.
type Nginx struct {
	*Proc
	// Conf is the path of the main configuration, PIDFile that of the master's pid, ErrorLog that of its error log.
	Conf, PIDFile, ErrorLog string
}

// NginxMain wraps an http block's body into a whole configuration that stays inside the rig's folder.
func (r *Rig) NginxMain(name, http string) string {
	return fmt.Sprintf(`daemon off;
worker_processes 2;
pid %[1]s/%[2]s.pid;
error_log %[1]s/%[2]s-error.log notice;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path %[1]s/%[2]s-tmp1;
    proxy_temp_path %[1]s/%[2]s-tmp2;
    fastcgi_temp_path %[1]s/%[2]s-tmp3;
    uwsgi_temp_path %[1]s/%[2]s-tmp4;
    scgi_temp_path %[1]s/%[2]s-tmp5;
%[3]s
}
`, r.Dir, name, http)
}

// StartNginx writes main (usually from NginxMain) to NAME.conf and runs nginx with it in the foreground.
func (r *Rig) StartNginx(name, main string) (*Nginx, error) {
	path, err := r.Write(name+".conf", main)
	if err != nil {
		return nil, err
	}
	p, err := r.Start(name, nil, "nginx", "-p", r.Dir, "-c", path, "-e", r.Path(name+"-start.log"))
	if err != nil {
		return nil, err
	}
	n := &Nginx{Proc: p, Conf: path, PIDFile: r.Path(name + ".pid"), ErrorLog: r.Path(name + "-error.log")}
	err = WaitFor("nginx to write its pid", 10*time.Second, func() bool {
		b, err := os.ReadFile(n.PIDFile)
		return (err == nil && len(b) > 1) || !p.Running()
	})
	if err == nil && !p.Running() {
		err = fmt.Errorf("nginx ended: %s", p.State())
	}
	if err != nil {
		return n, fmt.Errorf("%w\n%s", err, p.Log())
	}
	return n, nil
}

// Gunicorn says how to start one gunicorn master with the test application.
type Gunicorn struct {
	// Name names the process; Bind is "127.0.0.1:PORT"; Workers is the configured number of sync workers.
	Name, Bind string
	Workers    int
	// Python folders (for the mark middleware) and environment for the application.
	Path []string
	Env  []string
	// App is "module:callable", "app:app" when empty. Extra are further gunicorn flags.
	App   string
	Extra []string
	// Program runs gunicorn, "gunicorn" when empty.
	Program []string
}

// StartGunicorn runs gunicorn and waits until it listens. Its pid file is NAME.pid in the rig's folder.
func (r *Rig) StartGunicorn(g Gunicorn) (*Proc, error) {
	dir := r.Path("wsgi")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the application's folder: %w", err)
	}
	if err := os.WriteFile(dir+"/app.py", []byte(AppPy), 0o644); err != nil {
		return nil, fmt.Errorf("write the application: %w", err)
	}
	app := g.App
	if app == "" {
		app = "app:app"
	}
	env := append([]string{
		"PYTHONPATH=" + strings.Join(append([]string{dir}, g.Path...), ":"),
		"PYTHONDONTWRITEBYTECODE=1",
	}, g.Env...)
	program := g.Program
	if len(program) == 0 {
		program = []string{"gunicorn"}
	}
	argv := append(slices.Clone(program), append([]string{"--bind", g.Bind, "--workers", fmt.Sprint(g.Workers), "--pid", r.Path(g.Name + ".pid"),
		"--worker-tmp-dir", r.Dir}, g.Extra...)...)
	p, err := r.Start(g.Name, env, append(argv, app)...)
	if err != nil {
		return nil, err
	}
	if err := WaitListening(g.Bind, 15*time.Second); err != nil {
		return p, fmt.Errorf("%w\n%s", err, p.Log())
	}
	return p, nil
}
