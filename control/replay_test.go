package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// tidalFleet is a HAProxy, nodes, traffic and queues of many apps in one, in which orders come true.
type tidalFleet struct {
	mu    sync.Mutex
	r     *rand.Rand
	names []string
	state ProxyState
	pools map[string]map[string]core.PoolObs
	err   error
	// answers counts those of all servers together, which is enough to see them rise.
	answers int
}

const tidalServers = 3

func newTidalFleet(apps int) (*tidalFleet, Setup) {
	f := &tidalFleet{r: rand.New(rand.NewPCG(7, 8)), state: ProxyState{Process: "1:1", Backends: map[string]ProxyBackend{}}, pools: map[string]map[string]core.PoolObs{}}
	setup := Setup{File: "fleet.yaml", Tick: time.Hour, Proxies: []Instance{{Proxy: f}}, Traffic: f, Nodes: map[string]Node{}}
	for a := range apps {
		p := testSetup(nil).Apps[0].Policy
		p.Name, p.Servers = fmt.Sprintf("app%02d", a), nil
		p.Strategy = []core.Strategy{core.Erlang, core.Erlang, core.BusyRatio, core.Latency, core.Erlang, core.Queue}[a%6]
		p.Sizing, p.MinWorkers, p.MaxWorkers, p.Fill, p.Ramp = sizing.Default(), 1, 8*tidalServers, 0.75, []int{25, 100}
		app := App{Backend: p.Name, StaleAfter: time.Minute}
		servers := map[string]core.ProxyServerObs{}
		for s := range tidalServers {
			name, node := fmt.Sprintf("s%d", s), fmt.Sprintf("n%d", s)
			p.Servers = append(p.Servers, core.ServerPolicy{Name: name, Node: node, Managed: true, MinWorkers: 1, MaxWorkers: 8, ParkedWorkers: 1})
			app.Servers = append(app.Servers, Server{Name: name, Node: node, Address: "127.0.0.1:1"})
			servers[name] = core.ProxyServerObs{Known: true, Admin: core.AdminReady, Up: true, Weight: 100}
			if f.pools[node] == nil {
				f.pools[node] = map[string]core.PoolObs{}
				setup.Nodes[node] = tidalNode{f, node}
			}
			f.pools[node][p.Name] = core.PoolObs{Known: true, BusyKnown: true, Ready: 2, Total: 2, Target: 2}
		}
		if p.Strategy == core.Queue {
			app.Backlog = f
		}
		f.state.Backends[p.Name] = ProxyBackend{Servers: servers}
		f.names = append(f.names, p.Name)
		app.Policy = p
		setup.Apps = append(setup.Apps, app)
	}
	return f, setup
}

func (f *tidalFleet) Observe(context.Context, []string) (ProxyState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := ProxyState{Process: f.state.Process, Backends: map[string]ProxyBackend{}}
	for _, name := range f.names {
		b := ProxyBackend{Current: f.r.IntN(20), Queued: f.r.IntN(2), Servers: map[string]core.ProxyServerObs{}, Answers: map[string]int{}}
		for s, o := range f.state.Backends[name].Servers {
			if o.Admin == core.AdminReady {
				o.Current = f.r.IntN(8)
				f.answers += f.r.IntN(3)
			}
			b.Answers[s] = f.answers
			b.Servers[s] = o
		}
		out.Backends[name] = b
	}
	return out, f.err
}

func (f *tidalFleet) Apply(_ context.Context, steps []ProxyStep) ([]error, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range steps {
		o := f.state.Backends[s.Backend].Servers[s.Server]
		switch s.Kind {
		case core.Ready:
			o.Admin, o.Up, o.Weight = core.AdminReady, true, s.Value
		case core.SetWeight:
			o.Weight = s.Value
		case core.Drain:
			o.Admin = core.AdminDrain
		case core.Park:
			o.Admin, o.Up, o.Weight = core.AdminMaint, false, 0
		}
		f.state.Backends[s.Backend].Servers[s.Server] = o
	}
	return make([]error, len(steps)), nil
}

func (f *tidalFleet) State() api.SPOA { return api.SPOA{} }

func (f *tidalFleet) Take(now time.Time) map[string]TrafficReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]TrafficReport{}
	for i, name := range f.names {
		rate := 20 * (1.2 + float64((int(now.Unix())/60+i)%7)/2)
		t := TrafficReport{Last: now, Rate: rate, P50: time.Duration(f.r.IntN(1e9)), InFlight: f.r.IntN(30)}
		for k := int64(2); k >= 1; k-- {
			n := float64(int(rate) + f.r.IntN(9))
			t.Seconds = append(t.Seconds, sizing.Second{At: now.Unix() - k, Span: 1, Arrivals: n, Completions: n, Timed: n, Queue: f.r.Float64() / 100, Service: n * (0.1 + f.r.Float64()/50)})
		}
		for range f.r.IntN(6) {
			t.Responses = append(t.Responses, time.Duration(f.r.IntN(2e9)))
		}
		out[name] = t
	}
	return out
}

func (f *tidalFleet) Read(context.Context) (sizing.Backlog, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return sizing.Backlog{Items: float64(f.r.IntN(300)), In: 10, Out: 10 * f.r.Float64(), Service: 0.3}, time.Date(2100, 1, 2, 0, 0, 0, 0, time.UTC).Add(24 * time.Hour), nil
}

type tidalNode struct {
	f    *tidalFleet
	name string
}

func (n tidalNode) Report(context.Context) (NodeReport, error) {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	out := NodeReport{CPU: n.f.r.Float64(), Memory: n.f.r.Float64(), Capacity: 99, Pools: map[string]core.PoolObs{}}
	for app, p := range n.f.pools[n.name] {
		p.Busy = float64(n.f.r.IntN(p.Ready*100+1)) / 100
		p.Age = time.Duration(n.f.r.IntN(1e9))
		out.Pools[app] = p
		// What was ordered is there a turn later.
		p.Ready, p.Total, p.Starting = p.Target, p.Target, 0
		n.f.pools[n.name][app] = p
	}
	return out, nil
}

func (n tidalNode) SetWorkers(_ context.Context, app string, workers int, _ uint64) error {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	p := n.f.pools[n.name][app]
	p.Target, p.Starting = workers, max(0, workers-p.Ready)
	n.f.pools[n.name][app] = p
	return nil
}

func tidalLoop(t *testing.T, dir string, setup Setup, most int64) *Loop {
	t.Helper()
	store, err := NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(Options{Version: "v1", Setup: setup, Store: store, Journal: NewJournal(dir, most), Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.journal.Close() })
	return l
}

// tidalRun is a live run with a restart, a reload, orders, a source that fails and a disk that does, and its journal's folder.
func tidalRun(t *testing.T, most int64) string {
	t.Helper()
	dir := t.TempDir()
	f, setup := newTidalFleet(20)
	l := tidalLoop(t, dir, setup, most)
	// A fixed time, so that each run is the same; later than the order that is given in it.
	now := time.Date(2100, 1, 2, 3, 4, 5, 678, time.UTC)
	turns := func(n int) {
		for range n {
			l.oneTurn(t.Context(), now)
			now = now.Add(2*time.Second + 3*time.Microsecond)
		}
	}
	turns(150)
	if _, err := l.Order(request("hold", "app04", nil)); err != nil {
		t.Fatal(err)
	}
	turns(20)
	if err := l.journal.Close(); err != nil {
		t.Fatal(err)
	}
	l = tidalLoop(t, dir, setup, most)
	turns(30)
	f.err = errors.New("no such socket")
	turns(5)
	f.err = nil
	next := setup
	next.Apps = append([]App(nil), setup.Apps...)
	next.Apps[0].Policy.MinWorkers = 5
	l.pending.Store(&next)
	turns(20)
	// A folder in the file's place stands for a disk that takes no more.
	bad := filepath.Join(dir, "memory.json.tmp")
	if err := os.Mkdir(bad, 0o750); err != nil {
		t.Fatal(err)
	}
	turns(5)
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	turns(20)
	if err := l.journal.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func journalOf(t *testing.T, dir, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A live run's journal replays: every turn decides what it decided then, over restarts, reloads and trouble.
func TestALiveJournalReplays(t *testing.T) {
	t.Parallel()
	text := journalOf(t, tidalRun(t, JournalMaxBytes), "journal.jsonl")
	r, err := ReplayJournal(bytes.NewReader(text), nil, nil)
	if err != nil || r.Different != nil {
		t.Fatalf("%v %+v", err, r.Different)
	}
	if r.Turns != 250 || r.Decisions < 100 || r.Starts != 3 || r.Skipped+r.Unwritten != 0 || r.Version != "v1" {
		t.Errorf("%+v", r)
	}
	bytesOf := map[string]int{}
	lines := map[string]int{}
	for line := range bytes.Lines(text) {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind == "turn" && bytes.Contains(line, []byte(`"whole"`)) {
			e.Kind = "turn with a whole app"
		}
		bytesOf[e.Kind] += len(line)
		lines[e.Kind]++
	}
	for kind, n := range lines {
		t.Logf("%-22s %4d lines of %6d bytes", kind, n, bytesOf[kind]/n)
	}
	// The same turns under another policy decide otherwise, and that is told.
	r, err = ReplayJournal(bytes.NewReader(text), func(time.Time) core.Policy {
		_, setup := newTidalFleet(20)
		p := setup.policy(time.Now())
		p.Apps[1].MinWorkers = 9
		return p
	}, nil)
	if err != nil || r.Different == nil || r.Different.App != "app01" {
		t.Errorf("%v %+v", err, r.Different)
	}
}

// Each file replays alone, however small they are.
func TestEveryFileOfAJournalReplaysAlone(t *testing.T) {
	t.Parallel()
	const most = 3 << 20
	dir := tidalRun(t, most)
	for _, name := range []string{"journal.1.jsonl", "journal.jsonl"} {
		text := journalOf(t, dir, name)
		r, err := ReplayJournal(bytes.NewReader(text), nil, nil)
		if err != nil || r.Different != nil || r.Turns < 10 || r.Decisions < 10 {
			t.Errorf("%s: %v %+v %+v", name, err, r, r.Different)
		}
		if len(text) > most {
			t.Errorf("%s has %d bytes", name, len(text))
		}
		// A line that was cut off while it was written is left out.
		r, err = ReplayJournal(bytes.NewReader(text[:len(text)-20]), nil, nil)
		if err != nil || r.Different != nil {
			t.Errorf("%s, cut off: %v %+v", name, err, r.Different)
		}
	}
}

// What was changed in a journal afterwards is found, with its line.
func TestATamperedJournalIsReported(t *testing.T) {
	t.Parallel()
	text := string(journalOf(t, tidalRun(t, JournalMaxBytes), "journal.jsonl"))
	lines := strings.SplitAfter(text, "\n")
	find := func(what string) int {
		for i := len(lines) / 2; i < len(lines); i++ {
			if regexp.MustCompile(what).MatchString(lines[i]) {
				return i
			}
		}
		t.Fatalf("no line has %s", what)
		return 0
	}
	decision, turn := find(`"kind":"decision".*workers run, `), find(`"kind":"turn"`)
	for name, c := range map[string]struct {
		change func(lines []string)
		want   string
	}{
		"another number in a plan": {func(l []string) {
			l[decision] = regexp.MustCompile(`("plan":\{"name":"[^"]*","workers":)(\d+)`).ReplaceAllString(l[decision], "${1}77")
		}, `workers: the journal has 77, the replay \d`},
		"another sentence":   {func(l []string) { l[decision] = strings.Replace(l[decision], "workers run", "workers ran", 1) }, `actions\[\d\].why: the journal has`},
		"a decision removed": {func(l []string) { l[decision] = "\n" }, "a decision came out that the journal does not have"},
		"a decision twice":   {func(l []string) { l[decision] += l[decision] }, "a decision that did not come out"},
		"other traffic": {func(l []string) {
			l[turn] = regexp.MustCompile(`"seconds":\[\[(-?\d+),1,[0-9.]+,`).ReplaceAllString(l[turn], `"seconds":[[$1,1,9000,`)
		}, ""},
		"a turn removed": {func(l []string) { l[turn] = "\n" }, ""},
	} {
		changed := append([]string(nil), lines...)
		c.change(changed)
		if strings.Join(changed, "") == text {
			t.Errorf("%s: nothing was changed", name)
		}
		r, err := ReplayJournal(strings.NewReader(strings.Join(changed, "")), nil, nil)
		if err != nil || r.Different == nil || !regexp.MustCompile(c.want).MatchString(r.Different.What) || r.Different.Line < min(turn, decision)+1 {
			t.Errorf("%s: %v %+v, want %s", name, err, r.Different, c.want)
		}
	}
	for name, bad := range map[string]string{
		"no JSON": "{\n", "a turn without changes": `{"time":"2026-01-01T00:00:00Z","kind":"turn"}` + "\n",
		"an unknown app": lines[0] + `{"time":"2026-01-01T00:00:00Z","kind":"turn","seen":{"apps":[{"app":"x","counts":[1]}]}}` + "\n",
	} {
		if _, err := ReplayJournal(strings.NewReader(bad), nil, nil); err == nil || !strings.HasPrefix(err.Error(), "line ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// With decisions only, the journal has no turns; a file that begins in the middle of a run is passed over up to the next start.
func TestAJournalOfDecisionsOnly(t *testing.T) {
	_, setup := newTidalFleet(2)
	setup.DecisionsOnly = true
	dir := t.TempDir()
	l := tidalLoop(t, dir, setup, JournalMaxBytes)
	for i := range 20 {
		l.oneTurn(t.Context(), time.Unix(5000+2*int64(i), 0))
	}
	text := journalOf(t, dir, "journal.jsonl")
	r, err := ReplayJournal(bytes.NewReader(text), nil, nil)
	if err != nil || r.Different != nil || r.Turns != 0 || r.Starts != 0 || r.Skipped == 0 {
		t.Errorf("%v %+v", err, r)
	}
}

// What a turn saw comes back from its changes as it was, as far as the core decides on it; and the core decides alike on both.
func TestChangesLeadToWhatWasSeen(t *testing.T) {
	f, setup := newTidalFleet(6)
	l := tidalLoop(t, t.TempDir(), setup, JournalMaxBytes)
	p := setup.policy(time.Now())
	var before, read core.Observation
	var m, m2 core.Memory
	now := time.Unix(5000, 500)
	for turn := range 60 {
		switch turn % 20 {
		case 7:
			f.err = errors.New("no such socket")
		case 9:
			f.err = nil
		case 11:
			f.state.Process = fmt.Sprint(turn)
		}
		o := l.observation(l.observe(t.Context(), now), now)
		if turn%10 == 3 {
			o.Apps[0].Web = core.WebObs{Known: true, Weights: map[string]int{"s0": turn}}
			o.Problem = "the disk is full"
			o.Nodes[0].Up = false
			busy := 0.1 * float64(turn)
			o.Apps[1].Traffic.Seconds[0].Busy = &busy
			o.Apps[2].Orders = []sizing.Order{{ID: "a", Kind: sizing.OrderPin, Workers: turn, From: now}}
		}
		want := decisive(o, p)
		line, err := json.Marshal(changes(&before, &want))
		if err != nil {
			t.Fatal(err)
		}
		var s Seen
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatal(err)
		}
		if read, err = s.apply(read, o.Now); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, read); diff != "" {
			t.Fatalf("turn %d (-seen +read):\n%s", turn, diff)
		}
		var plan, plan2 core.Plan
		plan, m = core.Decide(p, m, o)
		plan2, m2 = core.Decide(p, m2, read)
		if diff := cmp.Diff(plan, plan2); diff != "" {
			t.Fatalf("turn %d: the core decides on what the journal leaves out:\n%s", turn, diff)
		}
		before = want
		now = now.Add(2 * time.Second)
	}
}
