package ours

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
	"github.com/tidegate/tidegate/sim"
)

// appName is what the app is called towards the core.
const appName = "app"

// epoch is when traces begin: a Thursday, midnight UTC.
var epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// errorsOver is the number of seconds that the share of errors is taken over, as `tidegate run` does.
const errorsOver = 10

// Policy is tidegate with an app's policy, deciding every so many seconds.
func Policy(name string, app core.AppPolicy, tick int) sim.Policy {
	return sim.Policy{Name: name, About: "tidegate's own decision core, strategy " + string(app.Strategy), New: func(s sim.Setup) (sim.Scaler, error) {
		if tick < 1 {
			return nil, fmt.Errorf("a tick of %d s is not allowed: 1 s and more", tick)
		}
		if app.Strategy == core.Noop {
			return nil, fmt.Errorf("the strategy noop changes nothing; there is nothing to simulate")
		}
		return &scaler{policy: core.Policy{Apps: []core.AppPolicy{fit(app, s.Params)}}, tick: tick}, nil
	}}
}

// App is an app with the defaults of a configuration file, the erlang strategy, and one server on each node, all in service.
func App(p sim.Params) core.AppPolicy {
	z := sizing.Default()
	z.SLO = seconds(p.SLO)
	return core.AppPolicy{
		Strategy: core.Erlang, MinServers: p.Nodes, MinWorkers: p.MinWorkers, MaxWorkers: p.MaxWorkers, Sizing: z, Fill: 0.75,
		DrainDeadline: time.Minute, StartDeadline: 30 * time.Second, RetryAfter: time.Minute, MaxOut: 0.2, ErrorStorm: 0.5,
	}
}

// fit makes a policy one for the model: servers as the nodes are, no HAProxy, no nginx. Servers of the policy keep their bounds
// where there are as many as nodes.
func fit(app core.AppPolicy, p sim.Params) core.AppPolicy {
	servers := app.Servers
	app.Name, app.Proxied, app.Web, app.Weight, app.Ramp = appName, false, false, 100, []int{100}
	app.MinServers = max(1, min(app.MinServers, p.Nodes))
	if len(servers) == 0 {
		app.MinServers = p.Nodes
	}
	app.Servers = make([]core.ServerPolicy, p.Nodes)
	for i := range app.Servers {
		s := core.ServerPolicy{MinWorkers: 1, MaxWorkers: p.PerNode[i], ParkedWorkers: 1}
		if len(servers) == p.Nodes {
			s = servers[i]
		}
		s.Name, s.Node = nodeName(i), nodeName(i)
		s.Managed, s.Warm, s.Initial = true, false, "up"
		app.Servers[i] = s
	}
	return app
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i+1) }

func seconds(x float64) time.Duration { return time.Duration(x * float64(time.Second)) }

func at(t float64) time.Time { return epoch.Add(seconds(t)) }

type scaler struct {
	policy core.Policy
	memory core.Memory
	tick   int
	// done and failed are of the last seconds, for the share of errors.
	done, failed []int
}

func (s *scaler) Every() int { return s.tick }

func (s *scaler) Decide(o *sim.Observation) sim.Decision {
	if s.memory.Apps == nil {
		s.memory = inService(o)
	}
	plan, memory := core.Decide(s.policy, s.memory, s.observation(o))
	s.memory = memory
	return s.decision(o, plan.Apps[0])
}

// inService is the memory of a controller that has found all servers in service.
func inService(o *sim.Observation) core.Memory {
	m := core.AppMemory{Since: at(o.Now), Activity: at(o.Now), Servers: make(core.Servers, 0, len(o.Nodes))}
	for i := range o.Nodes {
		m.Servers = append(m.Servers, core.NamedServer{Name: nodeName(i), ServerMemory: core.ServerMemory{
			Serve: true, Workers: o.Nodes[i].Ready, Life: core.Life{Phase: core.PhaseServing, Since: at(o.Now)},
		}})
	}
	return core.Memory{Apps: map[string]core.AppMemory{appName: m}}
}

// observation is what the controller would have seen.
func (s *scaler) observation(o *sim.Observation) core.Observation {
	app := core.AppObs{Name: appName, Traffic: s.traffic(o)}
	out := core.Observation{Now: at(o.Now)}
	for i := range o.Nodes {
		n := &o.Nodes[i]
		out.Nodes = append(out.Nodes, core.NodeObs{Name: nodeName(i), Up: n.Up, Capacity: n.Max, CPU: -1, Memory: -1})
		app.Servers = append(app.Servers, core.ServerObs{Name: nodeName(i), Pool: core.PoolObs{
			Known: n.Up, Total: n.Ready + n.Starting + n.Draining, Ready: n.Ready, Starting: n.Starting, Draining: n.Draining,
			BusyKnown: n.Up && !o.Missing, Busy: n.Busy, Target: n.Target,
		}, Answers: n.Answered, AnswersKnown: n.Up && !o.Missing})
	}
	for _, a := range o.Announced {
		app.Orders = append(app.Orders, sizing.Order{
			ID: a.ID, Kind: sizing.OrderReserve, Owner: "trace", From: at(a.From), Until: at(a.To), Rate: a.Rate,
		})
	}
	out.Apps = []core.AppObs{app}
	return out
}

func (s *scaler) traffic(o *sim.Observation) core.TrafficObs {
	t := core.TrafficObs{Known: !o.Missing}
	if o.Missing {
		return t
	}
	t.InFlight, t.Queued = o.InFlight, o.Queued
	for _, sec := range o.Seconds {
		t.Rate += float64(sec.Arrivals) / float64(len(o.Seconds))
		s.done, s.failed = append(s.done, sec.Completions+sec.Errors), append(s.failed, sec.Errors)
		// What HAProxy answers itself (a 503 after the time in the queue) or must (a server died) no worker has completed.
		t.Seconds = append(t.Seconds, sizing.Second{
			At: epoch.Unix() + int64(sec.At), Arrivals: float64(sec.Arrivals), Completions: float64(sec.Completions), Timed: float64(sec.Completions),
			Queue: sec.Queue, Service: sec.Service,
		})
	}
	t.Errors = s.errors()
	for _, r := range o.Services {
		t.Responses = append(t.Responses, seconds(r))
	}
	return t
}

// errors is the share of errors among the last completions; a handful makes no storm.
func (s *scaler) errors() float64 {
	if n := len(s.done) - errorsOver; n > 0 {
		s.done, s.failed = s.done[n:], s.failed[n:]
	}
	done, failed := 0, 0
	for i := range s.done {
		done, failed = done+s.done[i], failed+s.failed[i]
	}
	if done < 10 {
		return 0
	}
	return float64(failed) / float64(done)
}

// decision turns a plan into orders for the nodes.
func (s *scaler) decision(o *sim.Observation, plan core.AppPlan) sim.Decision {
	d := sim.Decision{PerNode: make([]int, len(o.Nodes)), Out: make([]bool, len(o.Nodes))}
	index := map[string]int{}
	for i := range d.PerNode {
		d.PerNode[i] = -1
		index[nodeName(i)] = i
	}
	for _, t := range plan.Targets {
		if t.Serve {
			d.Workers += t.Workers
		}
		d.Out[index[t.Server]] = !t.Phase.InService()
	}
	if plan.Sizing != nil {
		d.Workers = plan.Sizing.Workers
		for _, a := range plan.Sizing.Alarms {
			d.Alarms = append(d.Alarms, string(a))
		}
	}
	for _, a := range plan.Actions {
		if a.Kind == core.SetWorkers {
			d.PerNode[index[a.Server]] = a.Value
		}
	}
	var why []string
	for _, r := range plan.Reasons {
		why = append(why, r.Sentence)
	}
	d.Why = strings.Join(why, "; ")
	return d
}
