package haproxyconf_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
	"github.com/tidegate/tidegate/spoa"
	"github.com/tidegate/tidegate/tests/harness"
)

// haproxiesEnv names further HAProxys to run on, paths with spaces between; `make test-matrix` sets it.
const haproxiesEnv = "TIDEGATE_TEST_HAPROXIES"

// each runs f for every pair of HAProxy and variant that belong together: the installed one and those of the environment.
func each(t *testing.T, f func(t *testing.T, binary, variant string)) {
	harness.Need(t, "haproxy")
	for _, binary := range append([]string{"haproxy"}, strings.Fields(os.Getenv(haproxiesEnv))...) {
		version := versionOf(t, binary)
		for _, variant := range []string{haproxyconf.Variant26, haproxyconf.Variant30} {
			if variant == haproxyconf.Variant30 && strings.HasPrefix(version, "2.") {
				continue
			}
			t.Run("HAProxy "+version+" files "+variant, func(t *testing.T) { f(t, binary, variant) })
		}
	}
}

// versionOf is the number and branch of a HAProxy, as 3.0.11.
func versionOf(t *testing.T, binary string) string {
	t.Helper()
	path, err := harness.Find(binary)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, "-v").Output()
	if err != nil {
		t.Fatalf("%s -v: %v", binary, err)
	}
	version := regexp.MustCompile(`version (\d+\.\d+\.\d+)`).FindSubmatch(out)
	if version == nil {
		t.Fatalf("%s -v says %q", binary, out)
	}
	return string(version[1])
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
	stop    func()
	metrics *metrics.Set
}

func startAgent(t *testing.T, addr string, sink spoa.Sink) *agent {
	t.Helper()
	return startAgentWith(t, addr, spoa.Options{Sink: sink})
}

func startAgentWith(t *testing.T, addr string, o spoa.Options) *agent {
	t.Helper()
	ln, err := spoa.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	o.Metrics = metrics.NewSet()
	a := &agent{Server: spoa.New(o), metrics: o.Metrics}
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

// site is a HAProxy with the shipped files in front of origins, and an agent behind it.
type site struct {
	*harness.HAProxy
	rig   *harness.Rig
	url   string
	eager string // the same, where clients that leave end their requests (option abortonclose)
	agent *agent
	addr  string // the agent's
	rec   *recorder
	log   *logs
	ends  []func() // of agents that are no part of the site
	// arrivals tells that HAProxy sends arrival messages.
	arrivals bool
}

// backends are the observed backends' bodies by name; the lines to add go in front. Backend `app` has s1, others what
// servers says.
type backendText struct {
	body    string
	servers []string
}

// change is called twice: with the parameters alone before the files are made, and with both.
func newSite(t *testing.T, binary, variant string, backends map[string]backendText, change ...func(*haproxyconf.Params, *haproxyconf.Files)) *site {
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
	for _, c := range change {
		c(&p, nil)
	}
	s.arrivals = p.Arrivals
	files, err := haproxyconf.Render(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(&p, &files)
	}
	front, err := s.rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	eager, err := s.rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	s.url, s.eager = "http://"+front, "http://"+eager
	var cfg strings.Builder
	fmt.Fprintf(&cfg, `global
    log %[1]s format raw local0
    stats socket {{SOCK}} mode 600 level admin
    maxconn 2000
defaults eager-defaults
    option abortonclose
%[2]s
frontend eager from eager-defaults
    bind %[3]s
%[4]s
defaults usual
    no option abortonclose
%[2]s
frontend front from usual
    bind %[5]s
%[4]s
`, s.log.addr, defaultsText, eager, frontText, front)
	for name, b := range backends {
		fmt.Fprintf(&cfg, "backend %s from usual\n%s%s", name, files.BackendLines, b.body)
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

const (
	defaultsText = `    mode http
    log global
    timeout connect 1s
    timeout client  20s
    timeout server  2s
    timeout queue   300ms`
	frontText = `    log-format "LOG id=%[var(txn.tidegate_id)] be=%b srv=%s st=%ST TR=%TR Tw=%Tw Tc=%Tc Tr=%Tr Td=%Td Ta=%Ta rc=%rc tsc=%tsc err=%[var(txn.tidegate.err)] proto=%HV"
    http-request deny if { path_beg /front-deny/ }
    use_backend %[path,field(2,/)]`
)

// agentEnv makes the test binary an agent at the address it holds. It throws everything away, after the time that
// agentDelayEnv says; the ACKs wait for that.
const (
	agentEnv      = "TIDEGATE_TEST_AGENT"
	agentDelayEnv = "TIDEGATE_TEST_AGENT_DELAY"
)

// slowSink takes its time.
type slowSink time.Duration

func (d slowSink) Done(time.Time, *spoa.Sample)      { time.Sleep(time.Duration(d)) }
func (d slowSink) Heartbeat(time.Time, *spoa.Gauges) { time.Sleep(time.Duration(d)) }

func TestMain(m *testing.M) {
	if addr := os.Getenv(agentEnv); addr != "" {
		delay, _ := time.ParseDuration(os.Getenv(agentDelayEnv))
		ln, err := spoa.Listen(addr)
		if err == nil {
			err = spoa.New(spoa.Options{Sink: slowSink(delay)}).Serve(context.Background(), ln)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// startProcess runs an agent of its own, so that it can be killed and stopped.
func (s *site) startProcess(t *testing.T, delay time.Duration) *harness.Proc {
	t.Helper()
	p, err := s.rig.Start("agent", []string{agentEnv + "=" + s.addr, agentDelayEnv + "=" + delay.String()}, os.Args[0])
	if err == nil {
		err = harness.WaitListening(s.addr, 5*time.Second)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.ends = append(s.ends, p.Kill)
	return p
}

// loader sends requests at a steady rate, whatever becomes of them.
type loader struct {
	quit     chan struct{}
	done     sync.WaitGroup
	mu       sync.Mutex
	statuses map[int]int
	results  []result
}

type result struct {
	began  time.Time
	took   time.Duration
	status int
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
				l.results = append(l.results, result{start, time.Since(start), status})
			})
		}
	})
	return l
}

func (l *loader) sent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.results)
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
