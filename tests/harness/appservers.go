package harness

import (
	_ "embed"
	"fmt"
	"os"
	"strings"
	"time"
)

// AppRu is the Rack application behind Unicorn and Puma in tests (see its own comment for the URLs).
//
//go:embed app.ru
var AppRu string

// AppServer says how to start one Unicorn, Puma or uWSGI with the test application. Its pid file is NAME.pid in the rig's
// folder.
type AppServer struct {
	// Name names the process; Bind is "127.0.0.1:PORT"; Workers is the configured number of processes, Threads that of
	// threads in each (0: the server's default of one; Unicorn has no others).
	Name, Bind       string
	Workers, Threads int
	// Env is the application's environment; Extra are further lines of the server's configuration.
	Env   []string
	Extra []string
	// Path are folders of Python modules, App is "module:callable" ("app:app" when empty); for uWSGI only.
	Path []string
	App  string
}

// StartUnicorn runs unicorn and waits until it listens.
func (r *Rig) StartUnicorn(s AppServer) (*Proc, error) {
	lines := append([]string{
		fmt.Sprintf("worker_processes %d", s.Workers), fmt.Sprintf("listen %q", s.Bind), fmt.Sprintf("pid %q", r.Path(s.Name+".pid")), "timeout 60",
	}, s.Extra...)
	return r.startRuby(s, lines, "unicorn", "-E", "none", "-c")
}

// StartPuma runs puma and waits until it listens. Workers 0 is single mode.
func (r *Rig) StartPuma(s AppServer) (*Proc, error) {
	threads := max(s.Threads, 1)
	lines := append([]string{
		fmt.Sprintf("workers %d", s.Workers), fmt.Sprintf("threads %d, %[1]d", threads), fmt.Sprintf("bind %q", "tcp://"+s.Bind),
		fmt.Sprintf("pidfile %q", r.Path(s.Name+".pid")),
	}, s.Extra...)
	return r.startRuby(s, lines, "puma", "-e", "production", "-C")
}

// startRuby writes the application and the server's configuration and runs it.
func (r *Rig) startRuby(s AppServer, lines []string, argv ...string) (*Proc, error) {
	app, err := r.Write(s.Name+".ru", AppRu)
	if err != nil {
		return nil, err
	}
	conf, err := r.Write(s.Name+"-conf.rb", strings.Join(lines, "\n")+"\n")
	if err != nil {
		return nil, err
	}
	p, err := r.Start(s.Name, s.Env, append(argv, conf, app)...)
	if err != nil {
		return nil, err
	}
	return p, r.up(p, s.Bind)
}

// StartUWSGI runs uWSGI and waits until it listens. Its stats socket is NAME-stats.sock in the rig's folder, the master's
// FIFO NAME.fifo.
func (r *Rig) StartUWSGI(s AppServer) (*Proc, error) {
	dir := r.Path("wsgi")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the application's folder: %w", err)
	}
	if err := os.WriteFile(dir+"/app.py", []byte(AppPy), 0o644); err != nil {
		return nil, fmt.Errorf("write the application: %w", err)
	}
	app := s.App
	if app == "" {
		app = "app:app"
	}
	lines := []string{"[uwsgi]", "master = true", "die-on-term = true", "need-app = true", "http-socket = " + s.Bind, "module = " + app,
		fmt.Sprintf("processes = %d", s.Workers), fmt.Sprintf("threads = %d", max(s.Threads, 1)), "pidfile = " + r.Path(s.Name+".pid"),
		"stats = " + r.Path(s.Name+"-stats.sock"), "master-fifo = " + r.Path(s.Name+".fifo"), "pythonpath = " + dir}
	for _, p := range s.Path {
		lines = append(lines, "pythonpath = "+p)
	}
	conf, err := r.Write(s.Name+".ini", strings.Join(append(lines, s.Extra...), "\n")+"\n")
	if err != nil {
		return nil, err
	}
	p, err := r.Start(s.Name, append([]string{"PYTHONDONTWRITEBYTECODE=1"}, s.Env...), "uwsgi_python3", "--ini", conf)
	if err != nil {
		return nil, err
	}
	return p, r.up(p, s.Bind)
}

// up waits until the process listens.
func (r *Rig) up(p *Proc, bind string) error {
	if err := WaitListening(bind, 30*time.Second); err != nil {
		return fmt.Errorf("%w\n%s", err, p.Log())
	}
	return nil
}
