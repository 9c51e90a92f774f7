package core

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/tidegate/tidegate/core/sizing"
)

// Decide turns one observation into a plan and the memory for the next turn. It does not change its arguments. Apps of the
// policy that the observation lacks keep their memory and get an empty plan; apps the policy lacks are forgotten.
func Decide(p Policy, m Memory, o Observation) (Plan, Memory) {
	next := Memory{Apps: make(map[string]AppMemory, len(p.Apps))}
	seen := make(map[string]*AppObs, len(o.Apps))
	for i := range o.Apps {
		seen[o.Apps[i].Name] = &o.Apps[i]
	}
	plan := Plan{Apps: make([]AppPlan, 0, len(p.Apps))}
	var space scratch
	for i := range p.Apps {
		ap := &p.Apps[i]
		am, obs := &space.memory, seen[ap.Name]
		var known bool
		*am, known = m.Apps[ap.Name]
		am.own()
		if obs == nil {
			if known {
				next.Apps[ap.Name] = *am
			}
			plan.Apps = append(plan.Apps, AppPlan{Name: ap.Name})
			continue
		}
		if !known {
			*am = AppMemory{Since: o.Now, Activity: o.Now, Random: seed(ap.Name)}
		}
		plan.Apps = append(plan.Apps, decideApp(ap, am, obs, &o, &space))
		next.Apps[ap.Name] = *am
	}
	return plan, next
}

// seed gives each app its own sequence of choices.
func seed(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// turn is the work of one app in one turn.
type turn struct {
	p       *AppPolicy
	o       *AppObs
	now     time.Time
	problem string
	m       *AppMemory
	servers []view
	hold    Code
	// held: an operator has stopped everything.
	held    bool
	reasons []Reason
	result  *sizing.Result
	// nodes holds the nodes that are not up.
	nodes   map[string]bool
	proxies proxies
	// moves: a server leaves in this turn to get its address.
	moves bool
	// largest is the number of workers of the largest server, at least 1.
	largest int
	space   *scratch
}

// scratch is memory that one app's turn leaves for the next one's.
type scratch struct {
	memory    AppMemory
	servers   []view
	memories  []NamedServer
	proposals []proposal
	// steps has room for the usual number of steps of each server.
	steps     []step
	nodes     []sizing.Node
	single    [1]InstanceObs
	fronts    []front
	seen      []ProxyServerObs
	ranked    [ranks][]*view
	order, in []*view
	open      []*view
	counts    []int
}

// view is one server in a turn: what is wanted, what is seen, what is remembered.
type view struct {
	p   *ServerPolicy
	o   *ServerObs
	m   *ServerMemory
	met bool
	// fronts are the server on each HAProxy instance of the app.
	fronts []front
	// foreign: a human holds the server wherever it is known.
	foreign bool
	// narrow is p where the agent can do less than the policy asks for.
	narrow ServerPolicy
	// gone: it has left the policy, and is in HAProxy because tidegate added it.
	gone bool
	// stays: it is leaving, but nginx keeps it in this turn.
	stays bool
	// told is the number of workers ordered in this turn, 0 for none.
	told int
}

func decideApp(p *AppPolicy, m *AppMemory, o *AppObs, all *Observation, space *scratch) AppPlan {
	t := &turn{p: p, o: o, now: all.Now, problem: all.Problem, m: m, space: space}
	for _, n := range all.Nodes {
		if !n.Up && n.Name != "" {
			if t.nodes == nil {
				t.nodes = map[string]bool{}
			}
			t.nodes[n.Name] = true
		}
	}
	t.askProxies()
	t.meet()
	t.holds()
	t.operatorHold()
	if p.Strategy != Noop {
		if !t.held {
			t.floor()
		}
		switch {
		case p.Strategy != Latency:
			t.sized()
		case !t.held:
			t.latency()
		}
	}
	plan := AppPlan{Name: p.Name, Sizing: t.result}
	if t.result != nil {
		plan.Workers = t.result.Workers
	}
	if p.Strategy != Noop {
		plan.Actions = t.limit(t.lifecycle())
		if !t.held {
			plan.Web = t.web()
		}
	}
	t.keep()
	plan.Targets = make([]ServerTarget, 0, len(t.servers))
	for i := range t.p.Servers {
		v := &t.servers[i]
		if t.result == nil && v.m.Serve {
			plan.Workers += v.m.Workers
		}
		plan.Targets = append(plan.Targets, ServerTarget{Server: v.p.Name, Serve: v.m.Serve, Workers: v.m.Workers, Run: v.run(), Phase: v.m.Phase})
	}
	plan.Reasons = t.reasons
	return plan
}

// run is the number of workers that a server is to run after this turn's actions.
func (v *view) run() int {
	switch pool := &v.o.Pool; {
	case v.told > 0:
		return v.told
	case !v.p.Managed || !pool.Known:
		return v.m.Workers
	case pool.Target > 0:
		return pool.Target
	default:
		return pool.Ready + pool.Starting
	}
}

// keep remembers the servers of the policy, and forgets others. The list is shared with the memory of the turn before: there is a
// new one when something in it changes.
func (t *turn) keep() {
	old := t.m.Servers
	same, met := old != nil, 0
	for i := range t.servers {
		if !t.servers[i].met {
			continue
		}
		t.servers[i].remember()
		same = same && met < len(old) && t.space.memories[i] == old[met]
		met++
	}
	if same && met == len(old) {
		return
	}
	if met == len(t.servers) {
		t.m.Servers = slices.Clone(t.space.memories)
		return
	}
	t.m.Servers = make(Servers, 0, met)
	for i := range t.servers {
		if t.servers[i].met {
			t.m.Servers = append(t.m.Servers, t.space.memories[i])
		}
	}
}

func (t *turn) reason(code Code, server string, numbers map[string]float64, format string, args ...any) {
	t.reasons = append(t.reasons, Reason{Code: code, App: t.p.Name, Server: server, Numbers: numbers, Sentence: fmt.Sprintf(format, args...)})
}

// meet pairs policy, observation and memory of each server, gives servers seen for the first time their initial state,
// and recognises what humans and HAProxy restarts have changed.
func (t *turn) meet() {
	leftovers := t.leftovers()
	n := len(t.p.Servers) + len(leftovers)
	t.space.grow(n)
	t.roomForFronts(n)
	t.servers, t.largest = t.space.servers, 1
	for i := range n {
		var sp *ServerPolicy
		if i < len(t.p.Servers) {
			sp = &t.p.Servers[i]
		} else {
			sp = &ServerPolicy{Name: leftovers[i-len(t.p.Servers)]}
		}
		t.largest = max(t.largest, sp.MaxWorkers)
		t.meetServer(i, sp)
	}
}

// meetServer is meet for the i-th server.
func (t *turn) meetServer(i int, sp *ServerPolicy) {
	m, v := &t.space.memories[i], &t.servers[i]
	m.Name, m.ServerMemory = sp.Name, ServerMemory{}
	*v = view{p: sp, o: t.seen(i, sp.Name), m: &m.ServerMemory}
	if was, known := t.m.Servers.at(i, sp.Name); known {
		m.ServerMemory, v.met = *was, true
	}
	v.within()
	v.fronts = t.fronts(i, v)
	if i >= len(t.p.Servers) {
		t.leftover(v)
	}
	if !v.met {
		t.firstSight(v)
	}
	if v.met {
		for k := range v.fronts {
			t.recognise(v, &v.fronts[k])
		}
		v.sum()
		v.answered()
	}
	v.m.Serve = v.m.Serve && !v.gone
	if v.m.Serve && v.o.Pool.Drained && v.met {
		t.unwant(v)
		t.reason(CodeDrained, v.p.Name, nil, "%s is drained: a person on its node has taken the app out of service there", v.p.Name)
	}
}

// within narrows the server's bounds to what its agent says it can do.
func (v *view) within() {
	pool := &v.o.Pool
	if !v.p.Managed || !pool.Known || pool.Min <= min(v.p.MinWorkers, v.p.ParkedWorkers) && (pool.Max == 0 || pool.Max >= v.p.MaxWorkers) {
		return
	}
	v.narrow = *v.p
	p := &v.narrow
	if pool.Max > 0 {
		p.MaxWorkers = min(p.MaxWorkers, pool.Max)
	}
	p.MinWorkers = min(max(p.MinWorkers, pool.Min), p.MaxWorkers)
	p.ParkedWorkers = min(max(p.ParkedWorkers, pool.Min), p.MaxWorkers)
	v.p = p
}

// usualSteps is how many steps a server takes in a turn, at most, but for rare ones.
const usualSteps = 2

// grow makes room for n servers.
func (s *scratch) grow(n int) {
	if n > cap(s.servers) {
		s.servers, s.memories, s.steps = make([]view, n), make([]NamedServer, n), make([]step, usualSteps*n)
	}
	s.servers, s.memories = s.servers[:n], s.memories[:n]
}

// seen is what was observed of a server: mostly it stands where the policy has it.
func (t *turn) seen(i int, name string) *ServerObs {
	if i < len(t.o.Servers) && t.o.Servers[i].Name == name {
		return &t.o.Servers[i]
	}
	for k := range t.o.Servers {
		if t.o.Servers[k].Name == name {
			return &t.o.Servers[k]
		}
	}
	return &ServerObs{Name: name}
}

// firstSight waits until the server's present state is known, then takes the initial state from the policy or, without
// one, accepts what is there: a restart without memory must not move anything.
func (t *turn) firstSight(v *view) {
	v.m.Phase = PhaseUnknown
	serving := false
	switch {
	case t.p.Proxied:
		// One instance of several that cannot be read is waited for, but not for ever.
		if !v.known() || !v.allSeen() && t.now.Sub(t.m.Since) < t.p.StartDeadline {
			return
		}
		for i := range v.fronts {
			serving = serving || v.fronts[i].o.Admin == AdminReady && v.fronts[i].o.Weight > 0
		}
	case t.p.Web:
		serving = t.o.Web.Known && t.o.Web.Weights[v.p.Name] > 0
	default:
		// Workers that nobody sends requests to, as consumers of a message queue, serve as soon as they are ready.
		if !v.o.Pool.Known {
			return
		}
		serving = v.o.Pool.Ready > 0
	}
	v.met = true
	*v.m = ServerMemory{Serve: serving, Life: Life{Phase: PhaseParked, Since: t.now}}
	if serving {
		v.m.Phase, v.m.Step = PhaseServing, t.rampEnd()
	}
	for i := range v.fronts {
		v.fronts[i].m = Life{}
	}
	switch {
	case v.p.AlwaysUp || v.p.Initial == "up":
		v.m.Serve = true
	case v.p.Initial == "down":
		v.m.Serve = false
	}
	v.m.Workers = v.p.ParkedWorkers
	if v.m.Serve {
		v.m.Workers = max(v.p.MinWorkers, min(v.p.MaxWorkers, v.o.Pool.Ready))
	}
	if v.m.Serve != serving {
		t.reason(CodeInitial, v.p.Name, nil, "%s is to be %s from the start (initial state or always_up) and is %s now", v.p.Name, updown(v.m.Serve), updown(serving))
	}
}

func updown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// holds decides whether this turn's data may shrink anything, and reports when that changes.
func (t *turn) holds() {
	code, sentence := t.dataProblem()
	t.hold = code
	switch {
	case code != "" && t.m.Hold != code:
		t.reason(code, "", nil, "%s; nothing shrinks meanwhile", sentence)
	case code == "" && t.m.Hold != "":
		t.reason(CodeDataBack, "", nil, "all sources report again; scaling goes on")
	}
	t.m.Hold = code
}

func (t *turn) dataProblem() (Code, string) {
	if t.problem != "" {
		return CodeHoldSelf, t.problem
	}
	if t.p.Proxied && !t.proxies.all.Known {
		return CodeHoldNoData, "HAProxy's state cannot be read"
	}
	if len(t.proxies.silent) > 0 {
		return CodeHoldNoData, fmt.Sprintf("HAProxy's state cannot be read on %s, which may still send requests", names(t.proxies.silent))
	}
	if t.p.Strategy == Latency && !t.o.Traffic.Known {
		return CodeHoldNoData, "no timing comes from HAProxy's SPOE filter"
	}
	busy, running, managed := 0.0, 0, false
	for i := range t.servers {
		v := &t.servers[i]
		if !v.p.Managed || !v.m.Phase.InService() || t.lost(v) {
			continue
		}
		if !v.o.Pool.Known {
			return CodeHoldNoData, fmt.Sprintf("the agent of %s does not report", v.p.Name)
		}
		managed = managed || v.o.Pool.BusyKnown
		busy += v.o.Pool.Busy
		running += v.current()
	}
	if managed && busy == 0 && running > 2 {
		return CodeHoldZero, fmt.Sprintf("no worker is reported busy while HAProxy has %d requests running", running)
	}
	if t.o.Traffic.Known && t.p.ErrorStorm > 0 && t.o.Traffic.Errors > t.p.ErrorStorm {
		return CodeHoldErrors, fmt.Sprintf("%.0f %% of the requests end in errors", 100*t.o.Traffic.Errors)
	}
	return "", ""
}

// floor keeps always_up servers and the minimum number of healthy servers wanted.
func (t *turn) floor() {
	wanted := 0
	for i := range t.servers {
		v := &t.servers[i]
		if !v.met || v.foreign {
			continue
		}
		if v.p.AlwaysUp && !v.m.Serve && !t.resting(v) {
			t.want(v)
			t.reason(CodeAlwaysUp, v.p.Name, nil, "%s must always serve and does not: it is brought in", v.p.Name)
		}
		if v.m.Serve && !t.down(v) {
			wanted++
		}
	}
	for i := range t.servers {
		v := &t.servers[i]
		if wanted >= t.p.MinServers {
			return
		}
		if t.candidate(v) {
			t.want(v)
			wanted++
			t.reason(CodeFloor, v.p.Name, map[string]float64{"min_servers": float64(t.p.MinServers)}, "fewer than %d servers are wanted and healthy: %s is brought in", t.p.MinServers, v.p.Name)
		}
	}
}

// down tells that a server in service gets no traffic, because HAProxy finds it unhealthy, on every instance that is known.
func (t *turn) down(v *view) bool {
	if !v.m.Phase.InService() {
		return false
	}
	down := false
	for i := range v.fronts {
		f := &v.fronts[i]
		if !f.o.Known || f.o.Admin != AdminReady {
			continue
		}
		if f.o.Up {
			return false
		}
		down = true
	}
	return down
}

// want makes a server a serving one, with all its workers until the strategy says otherwise.
func (t *turn) want(v *view) {
	v.m.Serve = true
	v.m.Workers = v.p.MaxWorkers
	if t.p.Strategy != Latency {
		v.m.Workers = v.p.MinWorkers
	}
}

// unwant makes a server a parked one.
func (t *turn) unwant(v *view) {
	v.m.Serve = false
	v.m.Workers = v.p.ParkedWorkers
}

// candidate tells whether a server that is not wanted now can be brought in.
func (t *turn) candidate(v *view) bool {
	return v.met && !v.gone && !v.foreign && !v.o.Pool.Drained && !v.m.Serve && !t.resting(v) && (!v.p.Managed || v.o.Pool.Known)
}

// resting tells that a server failed its warm-up not long ago.
func (t *turn) resting(v *view) bool {
	return !v.m.FailedAt.IsZero() && t.now.Sub(v.m.FailedAt) < t.p.RetryAfter
}

// choose draws one of the servers by the generator in the memory (splitmix64), so that the choice can be replayed.
func (t *turn) choose(from []*view) *view {
	t.m.Random += 0x9e3779b97f4a7c15
	z := t.m.Random
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	z ^= z >> 31
	return from[z%uint64(len(from))]
}
