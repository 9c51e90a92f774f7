package haproxyconf_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
	"github.com/tidegate/tidegate/spoa"
	"github.com/tidegate/tidegate/tests/harness"
)

// binaries are the HAProxys to run on: the installed one, and a 3.0 where the environment names one.
func binaries(t *testing.T) map[string]string {
	t.Helper()
	harness.Need(t, "haproxy")
	return map[string]string{"installed": "haproxy", "3.0": os.Getenv("TIDEGATE_TEST_HAPROXY3")}
}

// each runs f for every pair of HAProxy and variant that belong together.
func each(t *testing.T, f func(t *testing.T, binary, variant string)) {
	for version, binary := range binaries(t) {
		for _, variant := range []string{haproxyconf.Variant26, haproxyconf.Variant30} {
			if version == "installed" && variant == haproxyconf.Variant30 {
				continue
			}
			t.Run("files for "+variant+" on "+version, func(t *testing.T) {
				if binary == "" {
					t.Skip("TIDEGATE_TEST_HAPROXY3 names no HAProxy 3.0")
				}
				f(t, binary, variant)
			})
		}
	}
}

// origin is an HTTP server that does what the query asks: ms (delay before the answer) and code. Requests to /hang wait
// until the server is let go.
type origin struct {
	addr string
	free chan struct{}
}

func newOrigin(t *testing.T) *origin {
	o := &origin{free: make(chan struct{})}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/hang") {
			<-o.free
		}
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
		code, err := strconv.Atoi(r.FormValue("code"))
		if err != nil {
			code = 200
		}
		w.WriteHeader(code)
		fmt.Fprintln(w, "ok")
	}))
	o.addr = s.Listener.Addr().String()
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { o.release() }); s.Close() })
	return o
}

func (o *origin) release() {
	select {
	case <-o.free:
	default:
		close(o.free)
	}
}

// recorder passes everything to a meter and keeps copies of the samples by request id.
type recorder struct {
	*spoa.Meter
	mu      sync.Mutex
	samples map[string]spoa.Sample
	beats   int
	boots   map[string]bool
}

func (r *recorder) Done(now time.Time, s *spoa.Sample) {
	r.Meter.Done(now, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples[string(s.ID)] = *s
	r.boots[s.Boot] = true
}

func (r *recorder) Heartbeat(now time.Time, g *spoa.Gauges) {
	r.Meter.Heartbeat(now, g)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beats++
	r.boots[g.Boot] = true
}

func (r *recorder) heartbeats() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.beats
}

func (r *recorder) sample(id string) (spoa.Sample, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.samples[id]
	return s, ok
}

// agent is a running SPOP server; stop ends it and waits.
type agent struct {
	*spoa.Server
	stop func()
}

func startAgent(t *testing.T, addr string, sink spoa.Sink) *agent {
	t.Helper()
	ln, err := spoa.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{Server: spoa.New(spoa.Options{Sink: sink})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, ln) }()
	a.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
	t.Cleanup(a.stop)
	return a
}

// logs receives HAProxy's log lines on a UDP port.
type logs struct {
	addr string
	mu   sync.Mutex
	list []string
}

func newLogs(t *testing.T) *logs {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	l := &logs{addr: pc.LocalAddr().String()}
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, _, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if _, line, ok := strings.Cut(string(buf[:n]), "LOG "); ok {
				l.mu.Lock()
				l.list = append(l.list, strings.TrimSpace(line))
				l.mu.Unlock()
			}
		}
	}()
	return l
}

// logLine is one line taken apart: key=value words.
type logLine map[string]string

func (l *logs) lines() []logLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]logLine, len(l.list))
	for i, text := range l.list {
		out[i] = logLine{}
		for _, word := range strings.Fields(text) {
			k, v, _ := strings.Cut(word, "=")
			out[i][k] = v
		}
	}
	return out
}

func (l logLine) ms(t *testing.T, key string) time.Duration {
	t.Helper()
	n, err := strconv.Atoi(l[key])
	if err != nil {
		t.Fatalf("log line %v: %s is no number", l, key)
	}
	return time.Duration(n) * time.Millisecond
}

// site is a HAProxy with the shipped files in front of origins, and an agent behind it.
type site struct {
	*harness.HAProxy
	rig   *harness.Rig
	url   string
	agent *agent
	addr  string // the agent's
	rec   *recorder
	log   *logs
}

// backends are the observed backends' bodies by name; the lines to add go in front. Backend `app` has s1, others what
// servers says.
type backendText struct {
	body    string
	servers []string
}

func newSite(t *testing.T, binary, variant string, backends map[string]backendText) *site {
	t.Helper()
	t.Setenv("TIDEGATE_TEST_HAPROXY", binary)
	s := &site{
		rig: harness.ForTest(t), log: newLogs(t),
		rec: &recorder{Meter: spoa.NewMeter(spoa.MeterOptions{}), samples: map[string]spoa.Sample{}, boots: map[string]bool{}},
	}
	sock := s.rig.Path("spoa.sock")
	s.addr = "unix:" + sock
	s.agent = startAgent(t, s.addr, s.rec)

	p := haproxyconf.Params{Variant: variant, SPOAAddr: "unix@" + sock, SPOEFile: s.rig.Path("tidegate-spoe.conf")}
	for name, b := range backends {
		p.Backends = append(p.Backends, haproxyconf.Backend{Name: name, Servers: b.servers})
	}
	files, err := haproxyconf.Render(p)
	if err != nil {
		t.Fatal(err)
	}
	front, err := s.rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + front
	var cfg strings.Builder
	fmt.Fprintf(&cfg, `global
    log %s format raw local0
    stats socket {{SOCK}} mode 600 level admin
    maxconn 2000
defaults
    mode http
    log global
    timeout connect 1s
    timeout client  20s
    timeout server  2s
    timeout queue   300ms
frontend front
    bind %s
    log-format "LOG id=%%[var(txn.tidegate_id)] be=%%b srv=%%s st=%%ST Tw=%%Tw Tc=%%Tc Tr=%%Tr rc=%%rc err=%%[var(txn.tidegate.err)]"
    use_backend %%[path,field(2,/)]
`, s.log.addr, front)
	for name, b := range backends {
		fmt.Fprintf(&cfg, "backend %s\n%s%s", name, files.BackendLines, b.body)
	}
	for name, text := range map[string]string{"tidegate.cfg": files.Include, "tidegate-spoe.conf": files.SPOE} {
		if _, err := s.rig.Write(name, text); err != nil {
			t.Fatal(err)
		}
	}
	if main, err := s.rig.Write("check.cfg", strings.NewReplacer("{{SOCK}}", s.rig.Path("x.sock")).Replace(cfg.String())); err != nil {
		t.Fatal(err)
	} else if out, err := harness.CheckHAProxy(main, s.rig.Path("tidegate.cfg")); err != nil || strings.Contains(out, "WARNING") {
		t.Errorf("haproxy -c: %v\n%s", err, out)
	}
	s.HAProxy, err = s.rig.StartHAProxy("haproxy", cfg.String(), s.rig.Path("tidegate.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	s.wait(t, "the agent to be up and a heartbeat", func() bool { return s.rec.heartbeats() > len(backends) })
	return s
}

// agentEnv makes the test binary an agent that throws everything away, at the address it holds.
const agentEnv = "TIDEGATE_TEST_AGENT"

func TestMain(m *testing.M) {
	if addr := os.Getenv(agentEnv); addr != "" {
		ln, err := spoa.Listen(addr)
		if err == nil {
			err = spoa.New(spoa.Options{}).Serve(context.Background(), ln)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// loader sends requests at a steady rate, whatever becomes of them.
type loader struct {
	quit     chan struct{}
	done     sync.WaitGroup
	mu       sync.Mutex
	statuses map[int]int
	times    []time.Duration
}

func (s *site) load(path string, every time.Duration) *loader {
	l := &loader{quit: make(chan struct{}), statuses: map[int]int{}}
	l.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-l.quit:
				return
			case <-tick.C:
			}
			l.done.Go(func() {
				start := time.Now()
				status := s.get(path)
				l.mu.Lock()
				defer l.mu.Unlock()
				l.statuses[status]++
				l.times = append(l.times, time.Since(start))
			})
		}
	})
	return l
}

func (l *loader) sent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.times)
}

// more waits until n more requests have ended.
func (l *loader) more(t *testing.T, n int) {
	t.Helper()
	from := l.sent()
	if err := harness.WaitFor(fmt.Sprintf("%d more requests", n), 30*time.Second, func() bool { return l.sent() >= from+n }); err != nil {
		t.Fatal(err)
	}
}

// stop ends the load and waits for the last answers.
func (l *loader) stop() {
	close(l.quit)
	l.done.Wait()
}

// get makes one request on a connection of its own and returns the status, -1 when there was no answer.
func (s *site) get(path string) int {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 15 * time.Second}
	resp, err := c.Post(s.url+path, "text/plain", nil)
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return -1
	}
	return resp.StatusCode
}

func (s *site) wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	if err := harness.WaitFor(what, 15*time.Second, cond); err != nil {
		t.Fatalf("%v\nreports: %+v\nagent: %+v", err, s.rec.Take(time.Now()), s.agent.Stats())
	}
}

// report returns the meter's report of one backend; the zero report when there is none yet.
func (s *site) report(name string) spoa.BackendReport {
	for _, r := range s.rec.Take(time.Now()) {
		if r.Name == name {
			return r
		}
	}
	return spoa.BackendReport{}
}
