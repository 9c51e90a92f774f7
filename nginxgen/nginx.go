package nginxgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/internal/sched"
)

// testTimeout bounds one `nginx -t`; a thousand upstreams take about a second.
const testTimeout = 60 * time.Second

// nginx is the program and the user's main configuration.
type nginx struct {
	binary, main, prefix, pidFile string
	// The command lines that stand in for nginx -t and for SIGHUP, nil for none.
	testCommand, reloadCommand []string
}

// built is what `nginx -V` tells of how nginx was compiled. Paths are relative to the prefix where they are not absolute.
type built struct {
	prefix, pidPath, errorLog string
	without                   map[string]bool
	// stream: the stream module is part of the program, not one to be loaded.
	stream bool
}

// settings are the paths that hold for this main configuration.
type settings struct {
	pidFile  string
	errorLog string // "" when the log is not a file
	built    built
}

// find returns the path of the binary, looking in the sbin folders too, which a service's PATH may lack.
func (n nginx) find() (string, error) {
	if p, err := exec.LookPath(n.binary); err == nil {
		return p, nil
	}
	if !strings.Contains(n.binary, "/") {
		for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
			if p, err := exec.LookPath(dir + n.binary); err == nil {
				return p, nil
			}
		}
	}
	return "", fmt.Errorf("find nginx: there is no program %s in PATH or the sbin folders", n.binary)
}

// output collects what a program prints, up to a bound.
type output struct {
	bytes.Buffer
	limit int
}

func (o *output) Write(p []byte) (int, error) {
	if room := o.limit - o.Len(); room > 0 {
		o.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// run runs nginx and returns what it printed. A failed start, an exit status and a time-out are all errors.
func (n nginx) run(ctx context.Context, limit int, args ...string) (string, error) {
	path, err := n.find()
	if err != nil {
		return "", err
	}
	return command(ctx, limit, path, args...)
}

func command(ctx context.Context, limit int, path string, args ...string) (string, error) {
	limited, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	cmd := exec.CommandContext(limited, path, args...)
	out := &output{limit: limit}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	// A tidegate that is killed leaves no test behind. The signal follows the thread, so the thread stays ours till the end.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := sched.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = ctx.Err()
	case limited.Err() != nil:
		err = fmt.Errorf("it did not end within %v", testTimeout)
	}
	return out.String(), err
}

func (n nginx) args(more ...string) []string {
	args := append(more, "-c", n.main)
	if n.prefix != "" {
		args = append(args, "-p", n.prefix)
	}
	return args
}

var builtRE = regexp.MustCompile(`--([a-z0-9_-]+)(?:=('[^']*'|\S*))?`)

func (n nginx) built(ctx context.Context) (built, error) {
	text, err := n.run(ctx, 64<<10, "-V")
	if err != nil {
		return built{}, fmt.Errorf("run %s -V: %w", n.binary, err)
	}
	return parseBuilt(text), nil
}

func parseBuilt(text string) built {
	b := built{prefix: "/usr/local/nginx", pidPath: "logs/nginx.pid", errorLog: "logs/error.log", without: map[string]bool{}}
	for _, g := range builtRE.FindAllStringSubmatch(text, -1) {
		val := strings.Trim(g[2], "'")
		switch g[1] {
		case "prefix":
			b.prefix = val
		case "pid-path":
			b.pidPath = val
		case "error-log-path":
			b.errorLog = val
		case "with-stream":
			b.stream = val == ""
		default:
			if mod, ok := strings.CutPrefix(g[1], "without-"); ok {
				b.without[mod] = true
			}
		}
	}
	return b
}

// settings finds the pid file and the error log: from the main context of the configuration, else as compiled in. Both
// are relative to the prefix, not to the configuration (ngx_conf_full_name).
func (n nginx) settings(ctx context.Context) (settings, error) {
	b, err := n.built(ctx)
	if err != nil {
		return settings{}, err
	}
	prefix := b.prefix
	if n.prefix != "" {
		prefix = n.prefix
	}
	abs := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(prefix, p)
	}
	pid, log, err := mainSettings(n.main)
	if err != nil {
		return settings{}, err
	}
	if pid == "" {
		pid = b.pidPath
	}
	if log == "" {
		log = b.errorLog
	}
	if log == "stderr" || strings.HasPrefix(log, "syslog:") || strings.HasPrefix(log, "memory:") {
		log = ""
	}
	if n.pidFile != "" {
		pid = n.pidFile
	}
	return settings{pidFile: abs(pid), errorLog: abs(log), built: b}, nil
}

// verdict is the outcome of one `nginx -t`.
type verdict struct {
	ok   bool
	text string // the lines that matter, "; " between them
	full string
}

var levelRE = regexp.MustCompile(`\[(warn|error|crit|alert|emerg)\] (?:\d+#\d+: )?(.*)`)

// judge reads the output of a test. Words at the levels above warn decide with the exit status; a warning counts when it
// names one of our files: "load balancing method redefined", for one, silently loses keep-alive.
func judge(out string, runErr error, ourPaths ...string) verdict {
	v := verdict{ok: runErr == nil, full: out}
	var said []string
	for line := range strings.Lines(out) {
		g := levelRE.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if g == nil {
			continue
		}
		mine := false
		for _, p := range ourPaths {
			mine = mine || strings.Contains(g[2], p+":")
		}
		if mine {
			v.ok = false
		}
		if g[1] == "emerg" || mine {
			said = append(said, g[2])
		}
	}
	if !v.ok && len(said) == 0 {
		if s := strings.TrimSpace(out); s != "" {
			said = append(said, s)
		}
		if runErr != nil {
			said = append(said, runErr.Error())
		}
	}
	v.text = strings.Join(said, "; ")
	return v
}

// names tells whether the verdict speaks of the file path.
func (v verdict) names(path string) bool { return strings.Contains(v.text, path) }

// broken tells whether err means that the program could not be run at all, as against a test that failed.
func broken(err error) bool {
	var exit *exec.ExitError
	return err != nil && !errors.As(err, &exit)
}

// test runs `nginx -t` on the user's configuration as it stands, or what is configured in its place.
func (n nginx) test(ctx context.Context, pidFile string, ourPaths ...string) (verdict, error) {
	defer guardPidFile(pidFile)()
	var out string
	var err error
	if c := n.testCommand; len(c) > 0 {
		out, err = command(ctx, 64<<10, c[0], c[1:]...)
	} else {
		out, err = n.run(ctx, 64<<10, n.args("-t", "-q")...)
	}
	if broken(err) {
		return verdict{}, fmt.Errorf("run nginx -t: %w", err)
	}
	return judge(out, err, ourPaths...), nil
}

// reload makes the master load its configuration. After an error it has heard nothing.
func (n nginx) reload(ctx context.Context, pid int) error {
	if c := n.reloadCommand; len(c) > 0 {
		if out, err := command(ctx, 64<<10, c[0], c[1:]...); err != nil {
			return fmt.Errorf("reload nginx with %s: %w: %s", strings.Join(c, " "), err, judge(out, err).text)
		}
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("signal the nginx master %d: %w", pid, err)
	}
	return nil
}

// guardPidFile returns a function that removes the empty pid file which `nginx -t` leaves when there was none: with it,
// `nginx -s reload` fails. An nginx that starts right now has its number written by the second look.
func guardPidFile(pidFile string) func() {
	if _, err := os.Lstat(pidFile); pidFile == "" || !errors.Is(err, os.ErrNotExist) {
		return func() {}
	}
	empty := func() bool {
		fi, err := os.Lstat(pidFile)
		return err == nil && fi.Mode().IsRegular() && fi.Size() == 0
	}
	return func() {
		if !empty() {
			return
		}
		time.Sleep(50 * time.Millisecond)
		if empty() {
			os.Remove(pidFile)
		}
	}
}

// testAlone runs `nginx -t` on nothing but the staged files. It needs no rights and disturbs nobody: every path nginx
// would touch lies in a folder of its own, as a root nginx changes the owner of its temporary folders. A stream file
// waits for the test in context where nginx has to load the module for it.
func (n nginx) testAlone(ctx context.Context, b built, c change) (verdict, error) {
	var http, stream, staged []string
	for _, l := range c.parts {
		switch {
		case l.asWanted(), l.stream && !b.stream:
			continue
		case l.stream:
			stream = append(stream, l.stage)
		default:
			http = append(http, l.stage)
		}
		staged = append(staged, l.stage)
	}
	if len(staged) == 0 {
		return verdict{ok: true}, nil
	}
	dir, err := os.MkdirTemp("", "tidegate-nginx-")
	if err != nil {
		return verdict{}, fmt.Errorf("make a folder to test the include file in: %w", err)
	}
	defer os.RemoveAll(dir)
	var conf strings.Builder
	fmt.Fprintf(&conf, "pid %s/pid;\nerror_log stderr warn;\nevents { }\nhttp {\naccess_log off;\nclient_body_temp_path %s/body;\n", dir, dir)
	for _, mod := range []string{"proxy", "fastcgi", "uwsgi", "scgi"} {
		if !b.without["http_"+mod+"_module"] {
			fmt.Fprintf(&conf, "%s_temp_path %s/%s;\n", mod, dir, mod)
		}
	}
	for _, path := range http {
		fmt.Fprintf(&conf, "include %s;\n", path)
	}
	conf.WriteString("}\n")
	if len(stream) > 0 {
		fmt.Fprintf(&conf, "stream {\ninclude %s;\n}\n", strings.Join(stream, ";\ninclude "))
	}
	main := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(main, []byte(conf.String()), 0o600); err != nil {
		return verdict{}, fmt.Errorf("write the configuration to test the include file in: %w", err)
	}
	out, err := n.run(ctx, 64<<10, "-t", "-q", "-c", main, "-p", dir)
	if broken(err) {
		return verdict{}, fmt.Errorf("run nginx -t: %w", err)
	}
	return judge(out, err, staged...), nil
}
